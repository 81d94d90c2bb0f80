"""Ends of an agent that are the first half of a restart: a host that leaves when its agent ends must not leave then."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from agent.closed import write_line

if TYPE_CHECKING:
    from pathlib import Path

# A restart that is on its way was asked for within so many seconds.
_RESTART_SECONDS = 60.0
_RESTART_FILE = "restarting"


def announce_restart(state_dir: Path) -> None:
    """Have the end of the agent that comes now taken for what it is: the first half of a restart."""
    with contextlib.suppress(OSError):
        write_line(state_dir / _RESTART_FILE, str(time.clock_gettime(time.CLOCK_BOOTTIME)))


def is_restarting(state_dir: Path) -> bool:
    """Whether a restart was announced a moment ago."""
    try:
        at = float((state_dir / _RESTART_FILE).read_text())
    except (OSError, ValueError):
        return False
    return 0.0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - at < _RESTART_SECONDS


def restarted(state_dir: Path) -> None:
    """The agent has begun: what was announced is done."""
    with contextlib.suppress(OSError):
        (state_dir / _RESTART_FILE).unlink(missing_ok=True)
