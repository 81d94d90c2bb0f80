"""How a refusal travels: a gRPC status whose details hold exactly one ``google.rpc.ErrorInfo``.

The message is what people read, the reason is what programs compare, the metadata are the numbers in the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast

if TYPE_CHECKING:
    import grpc

DOMAIN = "rallypoint"
DETAILS_KEY = "grpc-status-details-bin"


class Reason(StrEnum):
    """Reasons that programs act on. Others (the core's) travel as plain text; unknown ones are shown, not acted on."""

    TOKEN_DAMAGED = "TOKEN_DAMAGED"  # noqa: S105 -- a reason, not a password
    TOKEN_UNKNOWN = "TOKEN_UNKNOWN"  # noqa: S105
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105
    TOKEN_USED_UP = "TOKEN_USED_UP"  # noqa: S105
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105
    WRONG_CLUSTER = "WRONG_CLUSTER"
    CLOCK_OFF = "CLOCK_OFF"
    BAD_CSR = "BAD_CSR"
    PROTOCOL_VERSION = "PROTOCOL_VERSION"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    INVALID = "INVALID"
    STALE_SESSION = "STALE_SESSION"
    HOST_REMOVED = "HOST_REMOVED"
    UNAVAILABLE = "UNAVAILABLE"
    NOT_LEADER = "NOT_LEADER"
    INTERNAL = "INTERNAL"


class Refusal(NamedTuple):
    """A failed call as the other side explained it."""

    reason: str
    message: str
    metadata: dict[str, str]


class Aborts(Protocol):
    """The part of a ``grpc.aio`` servicer context that ends a call."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> NoReturn: ...


def reason_of(error: grpc.RpcError) -> Refusal:
    """What a failed call says. Without an ErrorInfo of ours the reason is the status code's name (``UNAVAILABLE``)."""
    code = error.code() if hasattr(error, "code") else None
    message = (error.details() if hasattr(error, "details") else None) or str(code or error)
    for key, value in _trailers(error):
        if key == DETAILS_KEY and (info := _read_info(value)) is not None:
            return Refusal(info[0], message, info[1])
    return Refusal(code.name if code is not None else str(Reason.INTERNAL), message, {})


_KNOWN_FAILURES = (
    *("Connection refused", "No route to host", "Network is unreachable", "Name or service not known"),
    *("Connection reset", "Socket closed", "DNS resolution failed", "Domain name not found"),
)


NO_ANSWER = "no answer in time"
OTHER_CA = "the certificate that was shown is of another CA, or has expired"
# gRPC's words when it gives up a connection, before or during TLS: a cut line, or a process that is frozen.
_TIMED_OUT = ("tcp handshaker shutdown", "endpoint closing", "timer expired")


def why_unavailable(said: str) -> str:
    """Plain words for what gRPC says of a connection that failed; its own text is for those who write gRPC."""
    low = said.lower()
    for known in _KNOWN_FAILURES:
        if known.lower() in low:
            return known.lower()
    if any(timed_out in low for timed_out in _TIMED_OUT):
        return NO_ANSWER
    if "alpn" in low:
        return "another kind of server answers there"
    if "certificate" in low:
        return OTHER_CA
    if "handshake" in low or "ssl" in low:
        return "TLS failed"
    return "no connection" if "connect" in low or "timeout" in low else " ".join(said.split())[:200]


def _trailers(error: grpc.RpcError) -> Iterable[tuple[str, bytes]]:
    trailers = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    return cast("Iterable[tuple[str, bytes]]", trailers or ())


def _read_info(details: bytes) -> tuple[str, dict[str, str]] | None:
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    try:
        status = status_pb2.Status.FromString(details)
    except DecodeError:
        return None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info.reason, dict(info.metadata)
    return None


def error_trailer(
    code: grpc.StatusCode, reason: str, message: str, metadata: Mapping[str, str] | None = None
) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carry the ErrorInfo, for ``context.abort(code, message, trailer)``."""
    from google.protobuf.any_pb2 import Any
    from google.rpc import error_details_pb2, status_pb2

    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata or {}))
    detail = Any()
    detail.Pack(info)
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    return ((DETAILS_KEY, status.SerializeToString()),)


async def abort(
    context: Aborts,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
) -> NoReturn:
    """End a ``grpc.aio`` call with the reason; does not return."""
    await context.abort(code, message, error_trailer(code, reason, message, metadata))
