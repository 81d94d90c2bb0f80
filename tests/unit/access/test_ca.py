"""The CA and what it signs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rallypoint.tls import SERVER_NAME

from agent.credentials import make_key_and_csr
from coordinator.access.ca import HOST_LIFE, SERVER_LIFE, Authority, AuthorityDamaged, load_or_create
from coordinator.access.errors import BadCsr
from coordinator.access.server_identity import ServerIdentity, server_names

NOW = 1_800_000_000.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_create(tmp_path / "ca", NOW)


def leaf_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def test_made_once_and_for_its_owner_only(authority: Authority, tmp_path: Path) -> None:
    again = load_or_create(tmp_path / "ca", NOW + 1)
    assert (again.cluster_id, again.pin) == (authority.cluster_id, authority.pin)
    assert again.certificate_pem == authority.certificate_pem
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "ca", *(tmp_path / "ca").iterdir()]}
    assert modes == {"ca": 0o700, "ca.key.pem": 0o600, "ca.pem": 0o600}


def test_a_key_left_by_a_crash_is_replaced(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca" / "ca.pem").unlink()
    again = load_or_create(tmp_path / "ca", NOW)
    assert again.pin != authority.pin


def test_a_key_that_others_may_read(authority: Authority, tmp_path: Path) -> None:
    key = tmp_path / "ca" / "ca.key.pem"
    key.chmod(0o644)
    with pytest.raises(AuthorityDamaged, match=f"may be read by other users: run 'chmod 600 {key}'"):
        load_or_create(tmp_path / "ca", NOW)


def test_files_that_are_damaged_or_do_not_match(authority: Authority, tmp_path: Path) -> None:
    other = load_or_create(tmp_path / "other", NOW)
    (tmp_path / "ca" / "ca.pem").write_bytes(other.certificate_pem)
    with pytest.raises(AuthorityDamaged, match=r"do not belong together: put .* back from a backup"):
        load_or_create(tmp_path / "ca", NOW)
    (tmp_path / "ca" / "ca.pem").write_bytes(b"hello")
    with pytest.raises(AuthorityDamaged, match="are damaged: put"):
        load_or_create(tmp_path / "ca", NOW)
    (tmp_path / "ca" / "ca.key.pem").unlink()
    with pytest.raises(AuthorityDamaged, match="No such file"):
        load_or_create(tmp_path / "ca", NOW)


def test_a_host_certificate_says_what_the_coordinator_says(authority: Authority) -> None:
    pem = authority.sign_host_csr(make_key_and_csr().csr_pem, "h-3", "n" * 200, NOW)
    leaf = leaf_of(pem)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"rallypoint://{authority.cluster_id}/host/h-3"
    ]
    assert names.get_values_for_type(x509.DNSName) == []
    assert leaf.not_valid_before_utc.timestamp() == NOW - 2 * 86_400, "a clock a day behind must do"
    assert leaf.not_valid_after_utc.timestamp() == NOW + HOST_LIFE
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def csr_with(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_csrs_that_are_refused(authority: Authority) -> None:
    der = bytearray(x509.load_pem_x509_csr(make_key_and_csr().csr_pem).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    cases = {
        "can't be read": b"hello",
        "more than 16384": b"x" * 20_000,
        "not signed by its own key": forged,
        "not ECDSA P-256": csr_with(ec.generate_private_key(ec.SECP384R1())),
        "key is not ECDSA": csr_with(rsa.generate_private_key(65537, 2048)),
    }
    for words, csr in cases.items():
        with pytest.raises(BadCsr, match=words):
            authority.sign_host_csr(csr, "h-1", "node-1", NOW)


def test_the_server_certificate_is_kept_until_it_is_old_or_names_change(authority: Authority, tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    first = ServerIdentity(authority, directory, server_names(["10.0.0.4"])).current(NOW)
    assert ServerIdentity(authority, directory, server_names(["10.0.0.4"])).current(NOW + 60) == first
    names = leaf_of(first.chain_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {SERVER_NAME, "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1", "10.0.0.4"} == {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    renamed = ServerIdentity(authority, directory, server_names(["gpu.example.org"])).current(NOW + 60)
    assert renamed != first
    running = ServerIdentity(authority, directory, server_names(["gpu.example.org"]))
    assert running.current(NOW + 0.6 * SERVER_LIFE) == renamed
    assert running.current(NOW + 0.7 * SERVER_LIFE) != renamed
    assert running.path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_or_exposed_server_certificate_is_made_anew(authority: Authority, tmp_path: Path) -> None:
    identity = ServerIdentity(authority, tmp_path / "ca", server_names())
    first = identity.current(NOW)
    identity.path.chmod(0o644)
    second = ServerIdentity(authority, tmp_path / "ca", server_names()).current(NOW)
    assert second.key_pem != first.key_pem
    identity.path.write_bytes(b"hello")
    assert ServerIdentity(authority, tmp_path / "ca", server_names()).current(NOW).key_pem != second.key_pem


def test_a_server_certificate_of_an_older_ca_is_made_anew(tmp_path: Path) -> None:
    old, new = load_or_create(tmp_path / "old", NOW), load_or_create(tmp_path / "new", NOW)
    first = ServerIdentity(old, tmp_path, server_names()).current(NOW)
    assert ServerIdentity(new, tmp_path, server_names()).current(NOW) != first


def test_names_that_cannot_stand_in_a_certificate() -> None:
    with pytest.raises(ValueError, match="'höst' can't stand in a certificate: give a host name or an IP address"):
        server_names(["höst"])


def test_the_https_context_takes_a_renewed_certificate(tmp_path: Path) -> None:
    identity = ServerIdentity(load_or_create(tmp_path / "ca", time.time()), tmp_path, server_names())
    context = identity.http_context(time.time())
    before = identity.path.read_bytes()
    identity.refresh(context, time.time() + 0.7 * SERVER_LIFE)
    assert identity.path.read_bytes() != before
