"""Offers: what each host with room could give to one more node of a class, the best first.

Kept from turn to turn as a heap that is right when it is read: what became better since was written into the planner's
log and is taken in before; what became worse is noticed when it comes to the top.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordinator.core import costs, fit, score
from coordinator.core.asks import Asks
from coordinator.core.ids import HostId
from coordinator.core.model import Host

if TYPE_CHECKING:
    from coordinator.core.state import State


@dataclass(frozen=True, slots=True)
class Offer:
    """Room on a host for one node, as good as ``key`` says (the least is the best)."""

    key: score.Key
    host: Host
    need: fit.Need
    match: fit.Match


# Key, number of the entry (the highest of a host counts), host, version of its usage.
_Entry = tuple[score.Key, int, HostId, int]


class Offers:
    """The offers to one class of jobs."""

    __slots__ = ("_entries", "_heap", "_latest", "_read", "_verdicts", "asks", "looks", "need")

    def __init__(self, asks: Asks) -> None:
        self.asks = asks
        self.need = fit.Need.of(asks.resources)
        # How many hosts were ever looked at: what a turn is measured by.
        self.looks = 0
        self._heap: list[_Entry] = []
        self._latest: dict[HostId, int] = {}
        self._entries = 0
        self._read: int | None = None
        self._verdicts: dict[int, tuple[fit.Match, float]] = {}

    def refresh(self, state: State) -> None:
        """Take in what changed since."""
        planning = state.planning
        if self._read == planning.now:
            return
        changed = None if self._read is None else planning.since(self._read)
        self._read = planning.now
        if changed is None:
            self._heap, self._latest = [], {}
            found = (self._look(state, host) for host in state.hosts)
            self._heap = [entry for entry in found if entry is not None]
            heapq.heapify(self._heap)
            return
        for host in dict.fromkeys(changed):
            entry = self._look(state, host)
            if entry is not None:
                heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._latest) + 64:
            self._heap = [entry for entry in self._heap if self._latest.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def take(self, state: State) -> Offer | None:
        """Take the best offer out; None when no host has room. ``put_back`` brings in what is left of it."""
        heap, latest = self._heap, self._latest
        while heap:
            key, number, host_id, version = heap[0]
            if latest.get(host_id) != number:
                heapq.heappop(heap)
                continue
            host = state.hosts.get(host_id)
            if host is None or fit.unusable(host) is not None:
                heapq.heappop(heap)
                del latest[host_id]
                continue
            if state.usage[host_id].version != version:
                entry = self._look(state, host_id)
                if entry is None:
                    heapq.heappop(heap)
                    continue
                if entry[0] > key:
                    heapq.heapreplace(heap, entry)
                    continue
                key = entry[0]
            heapq.heappop(heap)
            del latest[host_id]
            return Offer(key, host, self.need, self._verdict(state, host)[0])
        return None

    def offer(self, state: State, host_id: HostId) -> Offer | None:
        """What the host offers now; None without room. It is in, as after ``put_back``."""
        entry = self._look(state, host_id)
        if entry is None:
            return None
        heapq.heappush(self._heap, entry)
        host = state.hosts[host_id]
        return Offer(entry[0], host, self.need, self._verdict(state, host)[0])

    def put_back(self, state: State, host: HostId) -> None:
        """Bring in what the host has room for now."""
        entry = self._look(state, host)
        if entry is not None:
            heapq.heappush(self._heap, entry)

    def standing(self, state: State) -> list[Offer]:
        """All offers, the best first; they stay in."""
        found = []
        while (offer := self.take(state)) is not None:
            found.append(offer)
        for offer in found:
            self.put_back(state, offer.host.id)
        return found

    def _look(self, state: State, host_id: HostId) -> _Entry | None:
        """The host's entry as of now, which then is the only one that counts; None without room."""
        self.looks += 1
        host = state.hosts.get(host_id)
        if host is not None and fit.unusable(host) is None:
            found, part = self._verdict(state, host)
            usage = state.usage[host_id]
            assert host.hardware is not None
            if found.never is None and fit.has_room(host.hardware, usage, self.need, found):
                self._entries += 1
                self._latest[host_id] = self._entries
                return score.key(host, usage, part), self._entries, host_id, usage.version
        self._latest.pop(host_id, None)
        return None

    def _verdict(self, state: State, host: Host) -> tuple[fit.Match, float]:
        """How the host's hardware matches, and the part of the host that a node would hold."""
        assert host.hardware is not None
        shape = state.planning.shape_of(host.id, host.hardware)
        found = self._verdicts.get(shape)
        if found is None:
            part = costs.dominant(host.hardware, self.need.cpus, self.need.memory_bytes, self.need.gpus)
            found = self._verdicts[shape] = (fit.match(host, self.need), part)
        return found
