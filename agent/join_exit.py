"""How joining can fail: each way has its own exit code, which scripts may rely on."""

from __future__ import annotations

from enum import IntEnum

TOKEN_VARIABLE = "RALLYPOINT_JOIN_TOKEN"  # noqa: S105 -- the variable's name


class JoinExit(IntEnum):
    """Exit codes of ``agent join``. 0 is success, 2 a wrong option, 1 a fault of ours."""

    USAGE = 2
    """The address is not HOST:PORT, or an option is wrong."""
    TOKEN_UNREADABLE = 20
    """No token given, its file can't be read, or other users may read it."""
    TOKEN_DAMAGED = 21
    """The text is cut, mistyped, or no join token at all."""
    WRONG_PIN = 22
    """Something answers as this cluster, but with another CA key."""
    WRONG_CLUSTER = 23
    """The token, the coordinator and the state directory are not of one cluster."""
    TOKEN_EXPIRED = 24
    TOKEN_USED_UP = 25
    TOKEN_REVOKED = 26
    TOKEN_UNKNOWN = 27
    CLOCK_OFF = 28
    """This host's clock and the coordinator's differ too much for certificates."""
    NOT_A_COORDINATOR = 29
    """Something answers, but not a Rallypoint coordinator, or another of its ports."""
    UNREACHABLE = 30
    """Nothing answers: closed port, time-out, no route."""
    NAME_UNKNOWN = 31
    """The coordinator's host name can't be resolved."""
    ALREADY_JOINED = 32
    """The state directory holds a valid identity in the same cluster."""
    STATE_DIR = 33
    """The state directory can't be written."""
    VERSION = 34
    """Agent and coordinator speak different major versions of the protocol."""
    REFUSED = 35
    """The coordinator refused for another reason, which the message gives."""


class JoinFailed(Exception):
    """The host has not joined. The message names the thing, the reason and the way out, on one line."""

    def __init__(self, exit_code: JoinExit, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
