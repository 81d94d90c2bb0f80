"""Values out of the daemon's messages, which are JSON and so of any type."""

import signal


def number(value: object) -> float:
    """A number. Raises ``ValueError``."""
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is not a number")


def strings(value: object) -> list[str]:
    """A list of texts."""
    return [str(item) for item in value] if isinstance(value, list) else []


def environment(value: object) -> dict[str, str]:
    """Variables and their values."""
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def signal_number(name: str) -> int:
    """The number of ``TERM`` or ``SIGTERM``; of TERM if there is no such signal."""
    return int(getattr(signal, "SIG" + name.upper().removeprefix("SIG"), signal.SIGTERM))
