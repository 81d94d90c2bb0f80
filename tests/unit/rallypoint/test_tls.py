"""TLS 1.3 only, on gRPC's ports and between agents; and who a peer proves to be."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rallypoint.tls import (
    NotAHost,
    PeerFiles,
    PeerIdentity,
    host_uri,
    identity_of,
    parse_host_uri,
    peer_client_context,
    peer_identity,
    peer_server_context,
)

from agent.credentials import make_key_and_csr
from coordinator.access.ca import Authority, load_or_create

pytestmark = pytest.mark.timeout(60)

GRPC_PORT = """
from rallypoint.tls import prepare_grpc
prepare_grpc()
import sys, time
from pathlib import Path
from concurrent import futures
import grpc
from coordinator.access.ca import load_or_create
from coordinator.access.server_identity import ServerIdentity, server_names
from coordinator.access.server_tls import agent_credentials, api_credentials
directory = Path(sys.argv[1])
authority = load_or_create(directory, time.time())
identity = ServerIdentity(authority, directory, server_names())
server = grpc.server(futures.ThreadPoolExecutor(1))
api = server.add_secure_port("127.0.0.1:0", api_credentials(identity, time.time))
agents = server.add_secure_port("127.0.0.1:0", agent_credentials(identity, time.time, authority.certificate_pem))
server.start()
print(api, agents, flush=True)
sys.stdin.read()
server.stop(0)
"""


@pytest.fixture
def grpc_ports(tmp_path: Path) -> Iterator[list[int]]:
    """API and agent port in a fresh process: gRPC reads its environment once."""
    pipe = subprocess.PIPE
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
    command = [sys.executable, "-c", GRPC_PORT, str(tmp_path / "ca")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ) as process:
        assert process.stdout is not None
        yield [int(port) for port in process.stdout.readline().split()]
        process.communicate()


def version_agreed(port: int, only: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = only
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 20) as connection, context.wrap_socket(connection) as tls:
        return tls.version()


def test_grpc_speaks_tls_1_3_and_nothing_older(grpc_ports: list[int]) -> None:
    assert len(grpc_ports) == 2
    for port in grpc_ports:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            version_agreed(port, ssl.TLSVersion.TLSv1_2)
        assert version_agreed(port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_create(tmp_path / "ca", time.time())


def host_files(authority: Authority, directory: Path, host_id: str, ca: Authority | None = None) -> PeerFiles:
    new = make_key_and_csr()
    certificate = authority.sign_host_csr(new.csr_pem, host_id, host_id, time.time())
    return as_files(directory / host_id, new.key_pem + certificate, (ca or authority).certificate_pem)


def as_files(directory: Path, credentials: bytes, ca: bytes) -> PeerFiles:
    directory.mkdir()
    files = PeerFiles(directory / "credentials.pem", directory / "ca.pem")
    files.credentials.write_bytes(credentials)
    files.ca.write_bytes(ca)
    return files


Outcome = PeerIdentity | Exception


def meet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[Outcome, Outcome]:
    """Whom server and client see after a handshake and one byte each way, or what went wrong there."""
    outcomes: dict[bool, Outcome] = {}

    def shake(context: ssl.SSLContext, end: socket.socket, server_side: bool) -> None:
        end.settimeout(20)
        try:
            with end, context.wrap_socket(end, server_side=server_side) as tls:
                tls.sendall(b"!")
                assert tls.recv(1) == b"!"
                assert tls.version() == "TLSv1.3"
                outcomes[server_side] = peer_identity(tls)
        except (OSError, AssertionError, NotAHost) as error:
            outcomes[server_side] = error

    near, far = socket.socketpair()
    thread = threading.Thread(target=shake, args=(server, near, True))
    thread.start()
    shake(client, far, False)
    thread.join()
    return outcomes[True], outcomes[False]


def test_two_hosts_know_each_other(authority: Authority, tmp_path: Path) -> None:
    a, b = host_files(authority, tmp_path, "h-1"), host_files(authority, tmp_path, "h-2")
    server, client = meet(peer_server_context(a), peer_client_context(b))
    assert server == PeerIdentity(authority.cluster_id, "h-2")
    assert client == PeerIdentity(authority.cluster_id, "h-1")


def test_a_host_of_another_cluster_is_refused_by_both(authority: Authority, tmp_path: Path) -> None:
    stranger = load_or_create(tmp_path / "other", time.time())
    ours = host_files(authority, tmp_path, "h-1")
    theirs = host_files(stranger, tmp_path, "h-2", ca=authority)
    server, _ = meet(peer_server_context(ours), peer_client_context(theirs))
    assert isinstance(server, ssl.SSLError)
    _, client = meet(peer_server_context(theirs), peer_client_context(ours))
    assert isinstance(client, ssl.SSLCertVerificationError)


def test_a_caller_without_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    server, _ = meet(peer_server_context(host_files(authority, tmp_path, "h-1")), bare)
    assert isinstance(server, ssl.SSLError)


def test_tls_1_2_is_refused(authority: Authority, tmp_path: Path) -> None:
    old = peer_client_context(host_files(authority, tmp_path, "h-1"))
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    server, _ = meet(peer_server_context(host_files(authority, tmp_path, "h-2")), old)
    assert isinstance(server, ssl.SSLError)


def test_the_coordinators_certificate_makes_no_host(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue_server(["localhost"], time.time())
    files = as_files(tmp_path / "server", pair.key_pem + pair.chain_pem, authority.certificate_pem)
    _, client = meet(peer_server_context(files), peer_client_context(host_files(authority, tmp_path, "h-1")))
    assert isinstance(client, NotAHost)
    server, _ = meet(peer_server_context(host_files(authority, tmp_path, "h-2")), peer_client_context(files))
    assert isinstance(server, ssl.SSLError)  # It is no client's certificate either.


def test_host_uris() -> None:
    identity = PeerIdentity("c0ffee12", "h-3")
    assert parse_host_uri(host_uri(identity)) == identity
    for uri in ["", "rallypoint://c/host/", "rallypoint://c/host/h/x", "https://c/host/h", "rallypoint://c/host/h\n"]:
        with pytest.raises(NotAHost):
            parse_host_uri(uri)
    with pytest.raises(NotAHost, match="names 2 hosts"):
        identity_of((("URI", "a"), ("URI", "b")))
