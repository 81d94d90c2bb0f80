"""X.509 building blocks: ECDSA P-256 keys (gRPC takes no Ed25519) and the three kinds of certificate we make."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rallypoint.token import pin_of

from coordinator.access.errors import BadCsr

ORGANIZATION = "rallypoint"
CA_NAME = "Rallypoint CA "
BACKDATE = 2 * 86_400.0
"""Seconds by which certificates begin early: a clock that is a day behind must not cut a host off. It gives nothing
away, for nothing was signed with a key before it was made; how *long* one is good is what its life limits."""
MAX_CSR_BYTES = 16 * 1024
_MAX_COMMON_NAME = 64  # X.509's ub-common-name


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key with its certificate chain, both PEM."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes


@dataclass(frozen=True, slots=True)
class Template:
    """What a certificate is to say, apart from its key."""

    common_name: str
    names: Sequence[x509.GeneralName]
    usages: Sequence[x509.ObjectIdentifier]
    not_before: float
    not_after: float


def beginning(now: float, life: float) -> float:
    """When a certificate of so many seconds of life, made ``now``, says that it begins."""
    return now - min(BACKDATE, life)


SERVER_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH,)
HOST_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def pin_of_certificate(certificate: x509.Certificate) -> str:
    """The pin that join tokens carry for this CA."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return pin_of(certificate.public_key().public_bytes(encoding, form))


def make_ca(key: ec.EllipticCurvePrivateKey, cluster_id: str, not_before: float, not_after: float) -> x509.Certificate:
    """A self-signed CA certificate whose subject names the cluster."""
    subject = _name(CA_NAME + cluster_id)
    builder = _builder(subject, subject, key.public_key(), not_before, not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(_key_id(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256())


def make_leaf(
    template: Template,
    public_key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A certificate for a server or a host, signed by the CA."""
    subject = _name(template.common_name[:_MAX_COMMON_NAME])
    builder = _builder(subject, ca.subject, public_key, template.not_before, template.not_after)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(template.usages), False),
        (x509.SubjectAlternativeName(template.names), False),
        (_key_id(public_key), False),
        (issuer_id, False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ca_key, hashes.SHA256())


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Host names and IP addresses as a certificate lists them. Raises ``ValueError`` for what is neither."""
    return [_general_name(name) for name in names]


def public_key_of_csr(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a sound certificate request: its signature proves that the sender holds the key. Raises ``BadCsr``.

    Nothing else in the request is looked at: the coordinator alone says what the certificate names.
    """
    if len(csr_pem) > MAX_CSR_BYTES:
        raise BadCsr(f"the certificate request has {len(csr_pem)} bytes, more than {MAX_CSR_BYTES}")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        key = csr.public_key()
        sound = csr.is_signature_valid
    except Exception as error:  # cryptography raises many kinds for hostile input; all mean the same to the sender.
        raise BadCsr("the certificate request can't be read: use the same version of agent and coordinator") from error
    if not sound:
        raise BadCsr("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadCsr("the certificate request's key is not ECDSA P-256")
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, not_before: float, not_after: float
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(_utc(not_before)).not_valid_after(_utc(not_after))


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def _key_id(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
