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
from rallypoint.channel import MAX_MESSAGE_BYTES, aio_user_channel, server_options, user_channel  # noqa: E402

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


def test_the_token_goes_along_on_both_kinds_of_channel(authority: Authority, tmp_path: Path) -> None:
    async def use(port: int) -> list[bytes]:
        address, ca = f"127.0.0.1:{port}", authority.certificate_pem
        async with aio_user_channel(address, ca_pem=ca, token=TOKEN) as channel:
            first = await channel.unary_unary("/test.Service/Echo")(b"aio", timeout=20)
        return [first, await asyncio.to_thread(call, f"localhost:{port}", ca)]

    def call(address: str, ca: bytes) -> bytes:
        with user_channel(address, ca_pem=ca, token=TOKEN) as channel:
            return bytes(channel.unary_unary("/test.Service/Echo")(b"sync", timeout=20))

    assert with_server(authority, tmp_path, use) == [b"aio", b"sync"]


def test_the_limit_of_a_message(authority: Authority, tmp_path: Path) -> None:
    async def use(port: int) -> grpc.StatusCode:
        ca = authority.certificate_pem
        async with aio_user_channel(f"127.0.0.1:{port}", ca_pem=ca, token=TOKEN) as channel:
            echo = channel.unary_unary("/test.Service/Echo")
            assert len(await echo(b"x" * MAX_MESSAGE_BYTES, timeout=20)) == MAX_MESSAGE_BYTES
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await echo(b"x" * (MAX_MESSAGE_BYTES + 1), timeout=20)
            return refused.value.code()

    assert with_server(authority, tmp_path, use) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_server_of_another_ca_is_not_talked_to(authority: Authority, tmp_path: Path) -> None:
    stranger = load_or_create(tmp_path / "other", time.time())

    async def use(port: int) -> grpc.StatusCode:
        ca = authority.certificate_pem
        async with aio_user_channel(f"127.0.0.1:{port}", ca_pem=ca, token=TOKEN) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/test.Service/Echo")(b"", timeout=20)
            return refused.value.code()

    assert with_server(stranger, tmp_path, use) is grpc.StatusCode.UNAVAILABLE
