"""Channels to a real server: identity, the bearer token, sizes, and the name that every address answers to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
import grpc.aio  # noqa: E402
from rallypoint.channel import MAX_MESSAGE_BYTES, server_options, user_channel  # noqa: E402

from coordinator.access import users  # noqa: E402
from coordinator.access.ca import Authority, load_or_create  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import api_credentials  # noqa: E402

pytestmark = pytest.mark.timeout(60)
T = TypeVar("T")
TOKEN = "rpu1.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_create(tmp_path / "ca", time.time())


def with_server(authority: Authority, directory: Path, use: Callable[[int], Awaitable[T]]) -> T:
    """Run ``use(port)`` against a server that echoes calls whose bearer token is ``TOKEN``."""

    async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
        assert users.token_hash_of(context.invocation_metadata() or ()) == users.token_hash(TOKEN)
        return request

    async def run() -> T:
        server = grpc.aio.server(options=server_options())
        methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
        identity = ServerIdentity(authority, directory, server_names())
        port = server.add_secure_port("127.0.0.1:0", api_credentials(identity, time.time))
        await server.start()
        try:
            return await use(port)
        finally:
            await server.stop(0)

    return asyncio.run(run())


def test_the_token_goes_along(authority: Authority, tmp_path: Path) -> None:
    async def use(port: int) -> list[bytes]:
        ca = authority.certificate_pem
        return [await asyncio.to_thread(echoed, f"{host}:{port}", ca, b"x") for host in ("127.0.0.1", "localhost")]

    assert with_server(authority, tmp_path, use) == [b"x", b"x"]


def echoed(address: str, ca: bytes, data: bytes) -> bytes:
    with user_channel(address, ca_pem=ca, token=TOKEN) as channel:
        return bytes(channel.unary_unary("/test.Service/Echo")(data, timeout=20))


def refusal(address: str, ca: bytes, data: bytes) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        echoed(address, ca, data)
    return refused.value.code()  # type: ignore[no-any-return, attr-defined]


def test_the_limit_of_a_message(authority: Authority, tmp_path: Path) -> None:
    async def use(port: int) -> grpc.StatusCode:
        address, ca = f"127.0.0.1:{port}", authority.certificate_pem
        assert len(await asyncio.to_thread(echoed, address, ca, b"x" * MAX_MESSAGE_BYTES)) == MAX_MESSAGE_BYTES
        return await asyncio.to_thread(refusal, address, ca, b"x" * (MAX_MESSAGE_BYTES + 1))

    assert with_server(authority, tmp_path, use) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_server_of_another_ca_is_not_talked_to(authority: Authority, tmp_path: Path) -> None:
    stranger = load_or_create(tmp_path / "other", time.time())

    async def use(port: int) -> grpc.StatusCode:
        return await asyncio.to_thread(refusal, f"127.0.0.1:{port}", authority.certificate_pem, b"")

    assert with_server(stranger, tmp_path, use) is grpc.StatusCode.UNAVAILABLE
