"""What the production `Work` works with, where nothing of it needs an operating system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.model import AllocationId, Desired

if TYPE_CHECKING:
    from agent.spawner.wire import Message
    from tests.sim.output import Files

DEFAULT_GRACE = 10.0


class Places:
    """Directories that need no disk, but for the files of logs."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def make_work(self, key: AllocationId, owner: None = None, *, closed: bool = False) -> str:
        """See `agent.places`."""
        return key

    def work_of(self, key: AllocationId) -> str:
        """See `agent.places`."""
        return key

    def drop_work(self, key: AllocationId) -> None:
        """See `agent.places`."""

    def drop_log(self, key: AllocationId) -> None:
        """See `agent.places`."""
        self._files.drop(key)


class Ports:
    """Ports for masters, of which there are always more."""

    def __init__(self) -> None:
        self._last = 20000

    def hold(self, key: str) -> int:
        """See `agent.ports`."""
        self._last += 1
        return self._last

    def release(self, key: str) -> None:
        """See `agent.ports`."""


class Nodes:
    """Orders for the spawner, with the desired allocation itself for the ledger to look at."""

    def order(self, desired: Desired) -> Message:
        """See `agent.nodes`."""
        spec = desired.spec
        grace = DEFAULT_GRACE if spec.stop_duration is None else spec.stop_duration
        return {
            "behind": desired.behind,
            "within": desired.behind_seconds,
            "op": "spawn",
            "id": desired.id,
            "signal": spec.stop_signal or "TERM",
            "grace": grace,
            "limit": spec.max_duration,
            "after": spec.after,
            "desired": desired,
        }

    def owner(self, desired: Desired) -> None:
        """See `agent.nodes`."""

    def check_open(self, owner: None) -> None:
        """See `agent.nodes`."""

    def spawner_can_change_users(self, can: bool) -> None:
        """See `agent.nodes`; nobody here is anybody else."""

    def order_extra(self, desired: Desired, key: str, command: str) -> Message:
        """See `agent.nodes`; nothing here runs beside a node."""
        raise NotImplementedError
