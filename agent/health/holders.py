"""Whose work a GPU was doing, at what moment: XIDs come while a node runs, or just after they killed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.model import AllocationId, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.model import Desired, Observed

# What comes so many seconds after a node's end is still put down to it.
_LINGER = 10.0


@dataclass(frozen=True, slots=True)
class _Hold:
    allocation: AllocationId
    since: float
    until: float | None = None


class Holders:
    """Who holds each GPU or MIG instance, by uuid, and who held it last. Times are of one steady clock, in seconds."""

    def __init__(self, before: Mapping[str, str]) -> None:
        """``before``: who held what when an earlier agent last wrote that down; it counts for what is known to be."""
        self._before = {uuid: AllocationId(allocation) for uuid, allocation in before.items()}
        self._now: dict[str, _Hold] = {}
        self._last: dict[str, _Hold] = {}
        self._unknown = False

    def see(
        self, desired: Mapping[AllocationId, Desired], observed: Mapping[AllocationId, Observed], now: float
    ) -> bool:
        """Take in what is wanted and what is; whether a hold has begun or ended by that."""
        restored = [uuid for uuid, allocation in self._before.items() if allocation in observed]
        for uuid in restored:
            self._now.setdefault(uuid, _Hold(self._before.pop(uuid), now))
        alive = {key for key, seen in observed.items() if seen.phase is not Phase.ENDED}
        # Something that is no longer wanted has its GPUs until it has ended.
        held = {uuid: hold.allocation for uuid, hold in self._now.items() if hold.allocation in alive}
        # Right after a start: the spawner has told of nodes, the coordinator not yet of their GPUs.
        self._unknown = not alive - set(held.values()) <= desired.keys()
        for key, wanted in desired.items():
            if key in alive or key not in observed:
                held.update(dict.fromkeys(wanted.gpu_uuids, key))
        ended = [uuid for uuid, hold in self._now.items() if held.get(uuid) != hold.allocation]
        for uuid in ended:
            hold = self._now.pop(uuid)
            self._last[uuid] = _Hold(hold.allocation, hold.since, now)
        begun = [uuid for uuid in held if uuid not in self._now]
        for uuid in begun:
            self._now[uuid] = _Hold(held[uuid], now)
        return bool(ended or begun or restored)

    @property
    def held(self) -> dict[str, AllocationId]:
        """Who holds what now."""
        return {uuid: hold.allocation for uuid, hold in self._now.items()}

    @property
    def certain(self) -> bool:
        """Whether it is known of all that runs here what it holds."""
        return not self._unknown

    def of(self, uuid: str, at: float) -> str:
        """The allocation that had the GPU at that moment, or just before; empty: none, or nobody knows."""
        hold = self._now.get(uuid)
        if hold is not None and hold.since <= at:
            return hold.allocation
        last = self._last.get(uuid)
        return last.allocation if last is not None and last.until is not None and at - last.until <= _LINGER else ""

    def free_for(self, uuid: str, now: float) -> float | None:
        """For how many seconds nobody has held what somebody did; None: it is held, or never was."""
        last = self._last.get(uuid)
        if uuid in self._now or self._unknown or last is None or last.until is None:
            return None
        return now - last.until
