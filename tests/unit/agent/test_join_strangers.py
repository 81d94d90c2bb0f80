"""Joining where something else answers, or nothing; and no token to join with. Nothing is ever said to a stranger."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from agent.join import JoinOrder, join, read_token
from agent.join_exit import JoinExit, JoinFailed
from coordinator.access import certificates as certs
from coordinator.access.ca import Authority, load_or_create
from tests.fakes import impostors
from tests.fakes.join_server import JoinServer

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return load_or_create(tmp_path_factory.mktemp("data") / "ca", time.time())


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinServer]:
    with JoinServer(authority, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def token(server: JoinServer) -> str:
    return server.new_token()


def impostor(cluster_id: str) -> Authority:
    """Another CA that calls itself the same cluster."""
    key = certs.new_key()
    return Authority(key, certs.make_ca(key, cluster_id, time.time() - 300, time.time() + 3600))


def refused(address: str, token: str, state_dir: Path, timeout: float = 15.0) -> tuple[JoinExit, str]:
    with pytest.raises(JoinFailed) as failure:
        join(JoinOrder(address, token, state_dir, timeout=timeout), time.time())
    assert "\n" not in str(failure.value)
    return failure.value.exit_code, str(failure.value)


def test_a_coordinator_with_its_own_ca_and_our_name(authority: Authority, token: str, tmp_path: Path) -> None:
    with JoinServer(impostor(authority.cluster_id), tmp_path) as elsewhere:
        code, message = refused(elsewhere.address, token, tmp_path / "state")
        assert elsewhere.requests == []
    assert code is JoinExit.WRONG_PIN
    assert f"calls itself cluster {authority.cluster_id} but has not the key that the token is pinned to" in message


def test_our_public_ca_shown_by_who_has_not_its_key(authority: Authority, token: str, tmp_path: Path) -> None:
    pair = impostor(authority.cluster_id).issue_server(["localhost"], time.time())
    leaf = certs.certificate_pem(x509.load_pem_x509_certificates(pair.chain_pem)[0])
    pem = tmp_path / "chain.pem"
    pem.write_bytes(pair.key_pem + leaf + authority.certificate_pem)
    heard: list[bytes] = []
    with impostors.answering(impostors.tls_with(pem, heard)) as address:
        code, _ = refused(address, token, tmp_path / "state")
    assert code is JoinExit.WRONG_PIN
    assert heard == []


def test_a_coordinator_of_another_cluster(authority: Authority, token: str, tmp_path: Path) -> None:
    other = load_or_create(tmp_path / "ca", time.time())
    with JoinServer(other, tmp_path) as elsewhere:
        code, message = refused(elsewhere.address, token, tmp_path / "state")
        assert elsewhere.requests == []
    assert code is JoinExit.WRONG_CLUSTER
    assert f"for cluster {authority.cluster_id}" in message
    assert f"is cluster {other.cluster_id}" in message


def test_an_https_server(token: str, tmp_path: Path) -> None:
    pem = tmp_path / "web.pem"
    pem.write_bytes(impostors.self_signed("www.example.org"))
    heard: list[bytes] = []
    with impostors.answering(impostors.tls_with(pem, heard)) as address:
        code, message = refused(address, token, tmp_path / "state")
    assert code is JoinExit.NOT_A_COORDINATOR
    assert "its certificate is not from a Rallypoint cluster" in message
    assert heard == []


@pytest.mark.parametrize("talk", [impostors.talks_garbage, impostors.closes])
def test_no_tls(talk: impostors.Talk, token: str, tmp_path: Path) -> None:
    with impostors.answering(talk) as address:
        code, message = refused(address, token, tmp_path)
    assert code is JoinExit.NOT_A_COORDINATOR
    assert f"what answers at {address} is not a Rallypoint coordinator (it does not speak TLS 1.3)" in message


def test_a_port_that_never_answers(token: str, tmp_path: Path) -> None:
    with impostors.answering(impostors.hangs) as address:
        code, message = refused(address, token, tmp_path, timeout=0.3)
    assert code is JoinExit.NOT_A_COORDINATOR
    assert "no TLS answer within 0.3 s" in message


def test_a_closed_port(token: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, message = refused(f"127.0.0.1:{port}", token, tmp_path)
    assert code is JoinExit.UNREACHABLE
    assert f"no connection to 127.0.0.1:{port} (Connection refused)" in message


def test_a_host_that_drops_everything(token: str, tmp_path: Path) -> None:
    """A full accept queue is as silent as a firewall."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        code, message = refused(f"127.0.0.1:{listener.getsockname()[1]}", token, tmp_path, timeout=0.3)
    assert code is JoinExit.UNREACHABLE
    assert "no answer within 0.3 s" in message


def test_a_name_that_does_not_resolve(token: str, tmp_path: Path) -> None:
    code, message = refused("coordinator.invalid:7000", token, tmp_path)
    assert code is JoinExit.NAME_UNKNOWN
    assert "host name 'coordinator.invalid' not found" in message


@pytest.mark.parametrize("address", ["coordinator", "host:port", "http://host:7000", "::1:7000"])
def test_no_address(address: str, token: str, tmp_path: Path) -> None:
    code, message = refused(address, token, tmp_path)
    assert code is JoinExit.USAGE
    assert "HOST:PORT" in message


def test_token_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("rp1.secret")
    path.chmod(0o644)
    with pytest.raises(JoinFailed, match=f"may be read by other users: run 'chmod 600 {path}'") as failure:
        read_token(str(path), {})
    assert failure.value.exit_code is JoinExit.TOKEN_UNREADABLE
    path.chmod(0o600)
    assert read_token(str(path), {}) == "rp1.secret"


def test_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JoinFailed, match="can't be read \\(No such file or directory\\)") as failure:
        read_token(str(tmp_path / "token"), {})
    assert failure.value.exit_code is JoinExit.TOKEN_UNREADABLE


def test_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JoinFailed, match="no join token was given") as failure:
        read_token(None, {})
    assert failure.value.exit_code is JoinExit.TOKEN_UNREADABLE
    assert read_token(None, {"RALLYPOINT_JOIN_TOKEN": "from the environment"}) == "from the environment"
    monkeypatch.setattr("sys.stdin", io.StringIO("from standard input\n"))
    assert read_token("-", {}) == "from standard input\n"
