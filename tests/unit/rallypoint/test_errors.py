"""A refusal keeps its reason, words and numbers on its way over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
import grpc.aio  # noqa: E402
from rallypoint.errors import Reason, Refusal, abort, reason_of, why_unavailable  # noqa: E402

pytestmark = pytest.mark.timeout(60)

Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]  # type: ignore[type-arg]


async def refusal_of(handler: Handler) -> Refusal:
    """How a call that ``handler`` fails looks to its caller."""
    server = grpc.aio.server()
    methods = {"Call": grpc.unary_unary_rpc_method_handler(handler)}  # type: ignore[arg-type]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            await channel.unary_unary("/test.Service/Call")(b"", timeout=20)
        except grpc.RpcError as error:
            return reason_of(error)
        finally:
            await server.stop(0)
    pytest.fail("the call went well")


def test_reason_message_and_metadata() -> None:
    async def refuse(_: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
        code = grpc.StatusCode.PERMISSION_DENIED
        await abort(context, code, Reason.TOKEN_EXPIRED, "expired – ask again", {"token_id": "7"})

    expected = Refusal("TOKEN_EXPIRED", "expired – ask again", {"token_id": "7"})
    assert asyncio.run(refusal_of(refuse)) == expected


def test_without_details_the_code_is_the_reason() -> None:
    async def refuse(_: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
        await context.abort(grpc.StatusCode.UNAVAILABLE, "later")

    assert asyncio.run(refusal_of(refuse)) == Refusal("UNAVAILABLE", "later", {})


def test_details_that_are_not_ours_are_ignored() -> None:
    async def refuse(_: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
        trailer = (("grpc-status-details-bin", b"\xff\xff"),)
        await context.abort(grpc.StatusCode.NOT_FOUND, "no", trailer)

    assert asyncio.run(refusal_of(refuse)) == Refusal("NOT_FOUND", "no", {})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused",
            "connection refused",
        ),
        (
            "failed to connect; UNKNOWN: Cannot check peer: missing selected ALPN property.",
            "another kind of server answers there",
        ),
        (
            "Ssl handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED",
            "the certificate that was shown is of another CA, or has expired",
        ),
        ("Ssl handshake failed: WRONG_VERSION_NUMBER", "TLS failed"),
        ("last error: UNKNOWN: ipv4:192.0.2.1:7444: tcp handshaker shutdown", "no answer in time"),
        ("UNAVAILABLE: ipv4:127.0.0.1:7444: Handshake read failed (Endpoint closing)", "no answer in time"),
        ("failed to connect to all addresses", "no connection"),
        ("the store\nis busy", "the store is busy"),
    ],
)
def test_a_failed_connection_in_plain_words(said: str, words: str) -> None:
    assert why_unavailable(said) == words
