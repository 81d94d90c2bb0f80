"""What the core refuses, with the words that users see. One root; each has the reason that travels as ErrorInfo."""

from __future__ import annotations


class Refused(Exception):
    """Root: a request that can't be carried out as things stand."""

    reason = "REFUSED"


class NotFound(Refused):
    """There is no such thing."""

    reason = "NOT_FOUND"


class Conflict(Refused):
    """The thing's state forbids it."""

    reason = "CONFLICT"


class Invalid(Refused):
    """The request itself is wrong."""

    reason = "INVALID"


class StaleSession(Conflict):
    """The session was superseded by a newer one of the same host; open a new one."""

    reason = "STALE_SESSION"


class HostForgotten(Refused):
    """The host was removed from this cluster; join it again."""

    reason = "HOST_REMOVED"
