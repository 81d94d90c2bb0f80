"""What a node may use of its host beside memory, as its owner has it held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.model import Desired
    from agent.spawner.wire import Message

# Enough for the largest programs, and far from what keeps everybody else from starting any.
MOST_PIDS = 32768


@dataclass(slots=True)
class Bounds:
    """``cpu`` and ``pids`` as in the settings; ``shm``: whether nodes can have a /dev/shm of their own here."""

    cpu: str = "weight"
    pids: int = MOST_PIDS
    shm: bool = False

    def order(self, desired: Desired) -> Message:
        """What the spawner is told beside the rest of an order."""
        found: Message = {"pids": self.pids}
        if self.cpu != "off" and desired.cpus:
            found |= {"cpus": desired.cpus, "hard": self.cpu == "hard"}
        if self.shm and desired.spec.shm_bytes and not desired.spec.image:
            found["shm"] = desired.spec.shm_bytes
        return found


def default_pids() -> int:
    """``MOST_PIDS``, or half of all that this machine can have, if that is less."""
    try:
        with open("/proc/sys/kernel/pid_max") as file:
            return min(MOST_PIDS, int(file.read()) // 2)
    except (OSError, ValueError):
        return MOST_PIDS
