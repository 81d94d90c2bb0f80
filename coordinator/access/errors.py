"""What access control refuses, each with its reason, its gRPC status by name, and the numbers of its message."""

from __future__ import annotations

from collections.abc import Mapping

from rallypoint.errors import Reason

from coordinator.core.errors import Refused


class AccessRefused(Refused):
    """Root: the caller may not do this."""

    reason: str = Reason.PERMISSION_DENIED
    code = "PERMISSION_DENIED"

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.metadata = dict(metadata or {})


class Unauthenticated(AccessRefused):
    """The call carries no identity that is known here."""

    reason = Reason.UNAUTHENTICATED
    code = "UNAUTHENTICATED"


class PermissionDenied(AccessRefused):
    """The identity is known, but its role is too low."""


class TokenNotReadable(AccessRefused):
    """The text is not a whole join token."""

    reason = Reason.TOKEN_DAMAGED
    code = "INVALID_ARGUMENT"


class TokenUnknown(AccessRefused):
    """No such join token, or its secret is wrong: the two are not told apart to a stranger."""

    reason = Reason.TOKEN_UNKNOWN


class TokenExpired(AccessRefused):
    """The join token's time is over."""

    reason = Reason.TOKEN_EXPIRED


class TokenUsedUp(AccessRefused):
    """As many hosts as allowed have joined with it."""

    reason = Reason.TOKEN_USED_UP


class TokenRevoked(AccessRefused):
    """An admin revoked the join token."""

    reason = Reason.TOKEN_REVOKED


class WrongCluster(AccessRefused):
    """The join token belongs to another cluster."""

    reason = Reason.WRONG_CLUSTER


class ClockOff(AccessRefused):
    """The host's clock and the coordinator's differ too much for certificates."""

    reason = Reason.CLOCK_OFF
    code = "FAILED_PRECONDITION"


class ProtocolTooDifferent(AccessRefused):
    """The caller speaks a version of the protocol that is too far from ours."""

    reason = Reason.PROTOCOL_VERSION
    code = "FAILED_PRECONDITION"


class BadCsr(AccessRefused):
    """The certificate request can't be signed."""

    reason = Reason.BAD_CSR
    code = "INVALID_ARGUMENT"


class InvalidUser(AccessRefused):
    """The user's name or role is not acceptable."""

    reason = Reason.INVALID
    code = "INVALID_ARGUMENT"


class InvalidTokenRequest(AccessRefused):
    """The join token that is asked for makes no sense."""

    reason = Reason.INVALID
    code = "INVALID_ARGUMENT"
