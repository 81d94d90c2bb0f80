"""What becomes of a host's tasks when no agent is there: read from what the spawner has on disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.spawner import procs, wire
from agent.spawner.journal import read_journal
from agent.spawner.lease import LeaseFile

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL = "spawner.journal"
LEASE = "lease"


def running_tasks(state_dir: Path) -> list[str]:
    """The allocations whose processes live here, whether or not an agent or a spawner does."""
    records = read_journal(str(state_dir / JOURNAL))
    return sorted(task for task, record in records.items() if _lives(record))


def _lives(record: dict[str, object]) -> bool:
    if "at_end" in record or not isinstance(record.get("pid"), int):
        return False
    seen = procs.look(int(str(record["pid"])))
    return seen is not None and seen.alive and seen.start == record.get("start")


def left_running(state_dir: Path, now: float) -> str:
    """In words: what runs here, and until when. ``now`` in Unix seconds."""
    count = len(running_tasks(state_dir))
    if not count:
        return "nothing runs here"
    what = "1 node goes on" if count == 1 else f"{count} nodes go on"
    until = LeaseFile(str(state_dir / LEASE), procs.boot_id()).until
    if until is None:
        return f"{what} running here"
    left = max(0.0, until - wire.now())
    at = time.strftime("%H:%M:%S", time.localtime(now + left))
    return f"{what} until {at} ({left:.0f} s, its lease), or longer if an agent is started here by then"
