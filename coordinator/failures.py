"""How a failed call looks to those who use ``coordinator.client``: one root, one class for each way to react."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rallypoint.errors import NO_ANSWER, Reason, Refusal, reason_of, why_unavailable
from rallypoint.version import PROTOCOL_VERSION, __version__

if TYPE_CHECKING:
    import grpc


class RallypointError(Exception):
    """Root. ``str()`` is one line for people; ``reason`` and ``metadata`` are for programs."""

    def __init__(self, message: str, reason: str = Reason.INTERNAL, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata or {}


class Unreachable(RallypointError):
    """The coordinator does not answer, or something else answers in its place."""


class Cut(Unreachable):
    """A coordinator was reached, and the connection ended before its answer came: it may have done what was asked."""


class NotLeading(Unreachable):
    """The coordinator there stands by, or does not know whether it leads: another address may serve."""


class NotAuthorised(RallypointError):
    """The token is not accepted, or its user may not do this."""


class NotFound(RallypointError):
    """There is no such job, host, token or user."""


class Refused(RallypointError):
    """The request is understood but can't be carried out as things stand."""


class Internal(RallypointError):
    """The coordinator failed; its log says more."""


_BY_REASON: dict[str, type[RallypointError]] = {
    Reason.UNAUTHENTICATED: NotAuthorised,
    Reason.PERMISSION_DENIED: NotAuthorised,
    Reason.NOT_FOUND: NotFound,
    Reason.INTERNAL: Internal,
    "UNKNOWN": Internal,
    "UNIMPLEMENTED": Internal,
    "DATA_LOSS": Internal,
}


def failure(error: grpc.RpcError, address: str) -> RallypointError:
    """The error of this module that a failed call to ``address`` means."""
    refusal = reason_of(error)
    code = error.code().name if hasattr(error, "code") else ""
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED") and refusal.reason == code:
        # A name that is not known, a port where nobody listens, another TLS server: the connection never was.
        never = any(words in refusal.message.lower() for words in ("failed to connect", "resolution", "not found"))
        kind = Unreachable if code == "DEADLINE_EXCEEDED" or never else Cut
        return kind(_why_unreachable(address, code, refusal), refusal.reason)
    if refusal.reason == Reason.NOT_LEADER:
        return NotLeading(f"{address}: {_one_line(refusal.message)}", refusal.reason, refusal.metadata)
    if refusal.reason == "UNIMPLEMENTED":
        text = (
            f"the coordinator at {address} does not know this call: it is older than this command (release"
            f" {__version__}, protocol {PROTOCOL_VERSION}); upgrade it"
        )
        return Internal(text, refusal.reason)
    meant = _BY_REASON.get(refusal.reason, Refused)
    message = refusal.message
    if meant is Internal:
        message = f"the coordinator at {address} failed: {message}; its log says more"
    return meant(_one_line(message), refusal.reason, refusal.metadata)


def _why_unreachable(address: str, code: str, refusal: Refusal) -> str:
    said = refusal.message
    if code == "DEADLINE_EXCEEDED":
        return f"the coordinator at {address} did not answer in time; it may be overloaded or cut off; try again"
    if "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said.lower():
        return (
            f"what answers at {address} is not the coordinator of your context file (its certificate is of another CA);"
            " copy the context file again from the coordinator"
        )
    if why_unavailable(said) == NO_ANSWER:
        return f"no coordinator answers at {address} in time; check the address and the network, then try again"
    if "handshake" in said.lower() or "WRONG_VERSION_NUMBER" in said:
        return f"what answers at {address} is no coordinator (TLS failed); check the address in your context file"
    return (
        f"no coordinator answers at {address} ({why_unavailable(said)}); start it with 'coordinator serve',"
        " or choose another one with --context"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
