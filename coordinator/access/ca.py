"""The cluster's own CA: made on the coordinator's first start, kept in ``data_dir/ca`` (0700)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from rallypoint.files import make_private_dir, readable_by_others, write_private
from rallypoint.tls import PeerIdentity, host_uri

from coordinator.access import certificates as certs

KEY_FILE = "ca.key.pem"
CERTIFICATE_FILE = "ca.pem"
DAY = 86_400.0
CA_LIFE = 3650 * DAY
SERVER_LIFE = 90 * DAY
HOST_LIFE = 7 * DAY


class AuthorityDamaged(Exception):
    """The CA's files can't be used; put them back from a backup of the data directory."""


class Authority:
    """The CA's key and certificate. Its key never leaves this object and its file."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self.cluster_id = _cluster_of(certificate)
        self.certificate_pem = certs.certificate_pem(certificate)
        self.pin = certs.pin_of_certificate(certificate)

    def __repr__(self) -> str:
        return f"Authority(cluster_id={self.cluster_id!r})"

    def issue_server(self, names: Iterable[str], now: float, life: float = SERVER_LIFE) -> certs.KeyPair:
        """A new key and certificate for the coordinator; the chain ends in the CA, so that joining hosts see its pin.

        ``names``: host names and IP addresses. ``life`` in seconds. Raises ``ValueError`` for an impossible name.
        """
        names = list(names)
        key = certs.new_key()
        template = certs.Template(
            common_name=names[0],
            names=certs.general_names(names),
            usages=certs.SERVER_USAGES,
            not_before=certs.beginning(now, life),
            not_after=now + life,
        )
        leaf = certs.make_leaf(template, key.public_key(), self._certificate, self._key)
        return certs.KeyPair(certs.key_pem(key), certs.certificate_pem(leaf) + self.certificate_pem)

    def sign_host_csr(self, csr_pem: bytes, host_id: str, name: str, now: float, life: float = HOST_LIFE) -> bytes:
        """A host's certificate (PEM) for the key of its request. ``life`` in seconds. Raises ``BadCsr``."""
        uri = host_uri(PeerIdentity(self.cluster_id, host_id))
        template = certs.Template(
            common_name=name or host_id,
            names=[x509.UniformResourceIdentifier(uri)],
            usages=certs.HOST_USAGES,
            not_before=certs.beginning(now, life),
            not_after=now + life,
        )
        key = certs.public_key_of_csr(csr_pem)
        return certs.certificate_pem(certs.make_leaf(template, key, self._certificate, self._key))


def load_or_create(directory: Path, now: float) -> Authority:
    """The CA in ``directory``, made if there is none yet. Raises ``AuthorityDamaged``."""
    if not (directory / CERTIFICATE_FILE).exists():
        return _create(directory, now)
    return _load(directory)


def load_shared(directory: Path, known_pem: str, now: float, *, may_create: bool) -> Authority:
    """The CA in ``directory`` of a coordinator that shares its database with others, who must have the same one.

    ``known_pem``: the certificate that the database knows; empty before there is one. Its key is never stored there.
    Raises ``AuthorityDamaged``.
    """
    missing = not (directory / CERTIFICATE_FILE).exists()
    if missing and (known_pem or not may_create):
        raise AuthorityDamaged(
            f"the CA of this database's cluster is not in {directory}: copy {KEY_FILE} and {CERTIFICATE_FILE} there"
            " from the same folder of a coordinator that has led (mode 600), then start again"
        )
    authority = load_or_create(directory, now)
    if known_pem and authority.certificate_pem != known_pem.encode():
        raise AuthorityDamaged(
            f"the CA in {directory} (cluster {authority.cluster_id}) is not the one of this database's cluster:"
            " give another --data-dir, or copy the right CA there from a coordinator that has led"
        )
    return authority


def _create(directory: Path, now: float) -> Authority:
    make_private_dir(directory)
    key = certs.new_key()
    certificate = certs.make_ca(key, _new_cluster_id(), certs.beginning(now, CA_LIFE), now + CA_LIFE)
    # The certificate last: a key alone, left by a crash, has signed nothing yet and is replaced at the next start.
    write_private(directory / KEY_FILE, certs.key_pem(key))
    write_private(directory / CERTIFICATE_FILE, certs.certificate_pem(certificate))
    return Authority(key, certificate)


def _load(directory: Path) -> Authority:
    key_path = directory / KEY_FILE
    way_out = f"put {directory} back from a backup"
    try:
        if readable_by_others(key_path):
            raise AuthorityDamaged(f"{key_path} may be read by other users: run 'chmod 600 {key_path}'")
        key = load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE_FILE).read_bytes())
    except OSError as error:
        raise AuthorityDamaged(f"{key_path} can't be read ({error.strerror}): {way_out}") from None
    except (ValueError, TypeError):
        raise AuthorityDamaged(f"the CA's files in {directory} are damaged: {way_out}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belong_together(key, certificate):
        raise AuthorityDamaged(f"the CA's key and certificate in {directory} do not belong together: {way_out}")
    return Authority(key, certificate)


def _belong_together(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return key.public_key() == certificate.public_key()


def _cluster_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    if not name.startswith(certs.CA_NAME):
        raise AuthorityDamaged(f"the CA certificate is for {name!r}, not for a Rallypoint cluster")
    return name.removeprefix(certs.CA_NAME)


def _new_cluster_id() -> str:
    return secrets.token_hex(4)
