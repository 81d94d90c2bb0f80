"""Keys, certificate requests and renewal. The only module of a running agent that loads ``cryptography``.

The daemon does not import it, because that would double its memory for good: it runs it as a short-lived process
(``renewal_request`` and ``renewal_result`` in ``agent.renewal``):

``python -m agent.credentials request STATE_DIR``  writes a new key to the state directory, prints its request
``python -m agent.credentials accept STATE_DIR``   reads the new certificate from standard input, checks and stores it
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rallypoint.files import write_private
from rallypoint.tls import NotAHost, PeerIdentity, identity_of

from agent.identity import Identity, IdentityDamaged, NotJoined, Pems, load_identity, store_renewed

NEW_KEY_FILE = "new-key.pem"


class BadCertificate(Exception):
    """The coordinator's answer is not a certificate for this host's key; nothing was changed."""


@dataclass(frozen=True, slots=True)
class KeyAndCsr:
    """A new private key and the request to certify it, both PEM."""

    key_pem: bytes = field(repr=False)
    csr_pem: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """What a good certificate says. Times in Unix seconds."""

    peer: PeerIdentity
    not_before: float
    not_after: float


def make_key_and_csr() -> KeyAndCsr:
    """A new ECDSA P-256 key. The request names nothing: the coordinator alone says what the certificate names."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_pem = key.private_bytes(encoding, form, serialization.NoEncryption())
    return KeyAndCsr(key_pem, request.public_bytes(encoding))


def check_certificate(pems: Pems) -> Checked:
    """That the certificate is for the key, of the CA, and names a host. Raises ``BadCertificate``."""
    try:
        certificate = x509.load_pem_x509_certificate(pems.certificate_pem)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(pems.ca_pem))
        key = serialization.load_pem_private_key(pems.key_pem, None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        peer = identity_of(tuple(("URI", uri) for uri in uris))
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, NotAHost) as error:
        reason = str(error) or type(error).__name__
        raise BadCertificate(f"the coordinator sent an unusable certificate ({reason})") from None
    if key.public_key() != certificate.public_key():
        raise BadCertificate("the coordinator sent a certificate for another key")
    return Checked(peer, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def start_renewal(state_dir: Path) -> bytes:
    """Keep a new key in the state directory and return its request (PEM)."""
    new = make_key_and_csr()
    write_private(state_dir / NEW_KEY_FILE, new.key_pem)
    return new.csr_pem


def accept_renewal(state_dir: Path, certificate_pem: bytes) -> Identity:
    """Store the certificate for the key of ``start_renewal``. Raises ``BadCertificate``, ``NotJoined``, ``OSError``."""
    identity = load_identity(state_dir)
    new_key = state_dir / NEW_KEY_FILE
    pems = Pems(identity.ca_path.read_bytes(), new_key.read_bytes(), certificate_pem)
    checked = check_certificate(pems)
    if checked.peer != PeerIdentity(identity.cluster_id, identity.host_id):
        raise BadCertificate(f"the coordinator sent a certificate for host {checked.peer.host_id}")
    renewed = replace(identity, not_before=checked.not_before, not_after=checked.not_after)
    store_renewed(renewed, pems)
    new_key.unlink()
    return renewed


def main(arguments: list[str]) -> int:
    """One step of a renewal; says why not on standard error and returns 1."""
    step, state_dir = arguments[0], Path(arguments[1])
    try:
        if step == "request":
            sys.stdout.buffer.write(start_renewal(state_dir))
        else:
            accept_renewal(state_dir, sys.stdin.buffer.read())
    except (BadCertificate, NotJoined, IdentityDamaged, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
