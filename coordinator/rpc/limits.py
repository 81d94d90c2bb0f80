"""Bounds of what callers may say, where more than one service has them."""

from __future__ import annotations

from coordinator.core.errors import Invalid

# A year: whoever means to drain a host ever has forgotten it by then.
MAX_DRAIN_SECONDS = 366 * 86400.0
_LONGEST_REASON = 200


def check_drain_seconds(seconds: float) -> None:
    """Raise Invalid for a time that no drain may take."""
    if not 0.0 <= seconds <= MAX_DRAIN_SECONDS:
        raise Invalid(f"a drain may take 0 to {MAX_DRAIN_SECONDS:.0f} seconds, not {seconds:g}")


def one_line(text: str) -> str:
    """What a host says, as one short line of printable characters."""
    line = " ".join(text.split())
    return "".join(c for c in line if c.isprintable())[:_LONGEST_REASON]
