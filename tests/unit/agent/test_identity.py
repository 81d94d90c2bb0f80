"""The identity on disk: what is refused, and its renewal in a process of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rallypoint.tls import PeerIdentity

from agent.credentials import BadCertificate, check_certificate, make_key_and_csr
from agent.identity import Identity, IdentityDamaged, NotJoined, Pems, load_identity, load_pems, needs_renewal, save
from agent.renewal import RenewalFailed, renewal_request, renewal_result
from coordinator.access.ca import Authority, load_or_create

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_create(tmp_path / "ca", time.time())


@pytest.fixture
def identity(authority: Authority, tmp_path: Path) -> Identity:
    return saved(authority, tmp_path / "state")


def saved(authority: Authority, state_dir: Path, host_id: str = "h-1") -> Identity:
    new = make_key_and_csr()
    certificate = authority.sign_host_csr(new.csr_pem, host_id, "node-1", time.time())
    pems = Pems(authority.certificate_pem, new.key_pem, certificate)
    checked = check_certificate(pems)
    times = (checked.not_before, checked.not_after)
    made = Identity(state_dir, host_id, "node-1", authority.cluster_id, ("127.0.0.1:7001",), *times)
    save(made, pems)
    return made


def test_not_joined(tmp_path: Path) -> None:
    with pytest.raises(NotJoined, match=r"has not joined .*: run 'agent join HOST:PORT --token-file F' first"):
        load_identity(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host_id": 1'])
def test_damaged(text: str, identity: Identity) -> None:
    (identity.state_dir / "identity.json").write_text(text)
    with pytest.raises(IdentityDamaged, match="is damaged: join again"):
        load_identity(identity.state_dir)


def test_keys_that_others_may_read(identity: Identity) -> None:
    identity.credentials_path.chmod(0o640)
    way_out = f"may be read by other users: run 'chmod 600 {identity.credentials_path}'"
    with pytest.raises(IdentityDamaged, match=way_out):
        load_identity(identity.state_dir)
    with pytest.raises(IdentityDamaged, match=way_out):
        load_pems(identity)


def test_keys_that_are_gone_or_cut(identity: Identity) -> None:
    identity.credentials_path.write_bytes(b"cut")
    with pytest.raises(IdentityDamaged, match="does not hold a key and a certificate"):
        load_pems(identity)
    identity.credentials_path.unlink()
    with pytest.raises(IdentityDamaged, match="No such file"):
        load_identity(identity.state_dir)


def test_a_crash_while_joining_anew_leaves_a_host_that_has_not_joined(identity: Identity) -> None:
    identity.ca_path.unlink()
    identity.ca_path.mkdir()  # The first write fails.
    with pytest.raises(OSError):
        save(identity, Pems(b"ca", b"key", b"certificate"))
    with pytest.raises(NotJoined):
        load_identity(identity.state_dir)
    assert not list(identity.state_dir.glob(".*"))


def test_renewal_is_due_at_two_thirds(identity: Identity) -> None:
    due = replace(identity, not_before=1000.0, not_after=1300.0)
    assert not needs_renewal(due, 1199.9)
    assert needs_renewal(due, 1200.0)


def test_renewal_replaces_key_and_certificate_together(authority: Authority, identity: Identity) -> None:
    before = load_pems(identity)
    later = time.time() + 1000

    async def renew() -> Identity:
        csr = await renewal_request(identity.state_dir)
        certificate = authority.sign_host_csr(csr, identity.host_id, "node-1", later)
        return await renewal_result(identity.state_dir, certificate)

    renewed = asyncio.run(renew())
    after = load_pems(renewed)
    assert renewed == load_identity(identity.state_dir)
    assert renewed.not_after == pytest.approx(identity.not_after + 1000, abs=2)
    assert after.key_pem != before.key_pem
    assert check_certificate(after).peer == PeerIdentity(authority.cluster_id, identity.host_id)
    assert {path.name for path in identity.state_dir.iterdir()} == {"identity.json", "credentials.pem", "ca.pem"}


def test_a_wrong_answer_to_a_renewal_changes_nothing(authority: Authority, identity: Identity, tmp_path: Path) -> None:
    before = load_pems(identity)
    stranger = load_or_create(tmp_path / "other", time.time())

    async def renew(by: Authority, host_id: str, csr: bytes | None) -> None:
        request = await renewal_request(identity.state_dir)
        await renewal_result(identity.state_dir, by.sign_host_csr(csr or request, host_id, "node-1", time.time()))

    other_key = make_key_and_csr().csr_pem
    for by, host_id, csr in [(stranger, "h-1", None), (authority, "h-2", None), (authority, "h-1", other_key)]:
        with pytest.raises(RenewalFailed, match="the coordinator sent"):
            asyncio.run(renew(by, host_id, csr))
    assert load_pems(identity) == before


def test_certificates_that_are_none(identity: Identity) -> None:
    with pytest.raises(BadCertificate, match="unusable certificate"):
        check_certificate(replace(load_pems(identity), certificate_pem=b"hello"))


def test_a_daemon_loads_no_cryptography(identity: Identity) -> None:
    program = (
        "import sys; from pathlib import Path; import agent.identity as i, agent.renewal, rallypoint.channel;"
        " identity = i.load_identity(Path(sys.argv[1])); i.load_pems(identity);"
        " print([name for name in ('cryptography', 'OpenSSL', 'platformdirs') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(identity.state_dir)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_record_is_readable_json(identity: Identity) -> None:
    record = json.loads((identity.state_dir / "identity.json").read_text())
    assert record["host_id"] == "h-1"
    assert record["coordinators"] == ["127.0.0.1:7001"]


def test_openssl_takes_the_files(identity: Identity) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.peer_files.credentials)
    context.load_verify_locations(identity.peer_files.ca)
