"""The one error map: what the core, access control and the engine refuse, as gRPC statuses with their reason."""

from __future__ import annotations

from typing import NoReturn

import grpc
import structlog
from rallypoint.errors import Aborts, Reason, abort

from coordinator.access.errors import AccessRefused
from coordinator.core.errors import Conflict, HostForgotten, Invalid, NotFound, Refused, StaleSession
from coordinator.disk import DiskFull
from coordinator.engine import EngineFailed, EngineFull
from coordinator.store import StoreError

log = structlog.get_logger(__name__)


class NotLeading(Exception):
    """Another coordinator leads, or may lead: the caller shall try the next address."""


# More special classes first.
_CODES: tuple[tuple[type[Refused], grpc.StatusCode], ...] = (
    (StaleSession, grpc.StatusCode.FAILED_PRECONDITION),
    (HostForgotten, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (DiskFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
)


async def refuse(context: Aborts, error: Exception) -> NoReturn:
    """End the call with what the error says. An unexpected error is logged and told without its details."""
    if isinstance(error, AccessRefused):
        await abort(context, grpc.StatusCode[error.code], error.reason, str(error), error.metadata)
    if isinstance(error, Refused):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.FAILED_PRECONDITION)
        await abort(context, code, error.reason, str(error))
    if isinstance(error, EngineFull):
        await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, DiskFull.reason, str(error))
    if isinstance(error, NotLeading):
        await abort(context, grpc.StatusCode.UNAVAILABLE, Reason.NOT_LEADER, str(error))
    if isinstance(error, EngineFailed):
        await abort(context, grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE, str(error))
    if isinstance(error, StoreError):
        await abort(context, grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE, f"nothing was changed: {error}")
    log.error("rpc.failed", exc_info=error)
    await abort(context, grpc.StatusCode.INTERNAL, Reason.INTERNAL, "the coordinator failed inside; see its log")
