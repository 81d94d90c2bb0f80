"""A server's certificate is renewed while the server runs."""

from __future__ import annotations

import socket
import time
from concurrent import futures
from pathlib import Path

import pytest
from rallypoint.tls import prepare_grpc

prepare_grpc()

import ssl  # noqa: E402

import grpc  # noqa: E402

from coordinator.access.ca import SERVER_LIFE, load_or_create  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import api_credentials  # noqa: E402


def shown(port: int) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 20) as connection, context.wrap_socket(connection) as tls:
        return tls.getpeercert(binary_form=True)


@pytest.mark.timeout(60)
def test_new_handshakes_see_the_new_certificate(tmp_path: Path) -> None:
    now = [time.time()]
    identity = ServerIdentity(load_or_create(tmp_path / "ca", now[0]), tmp_path, server_names())
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", api_credentials(identity, lambda: now[0]))
    server.start()
    try:
        first = shown(port)
        assert shown(port) == first
        now[0] += 0.7 * SERVER_LIFE
        assert shown(port) != first
    finally:
        server.stop(0).wait()
