"""Offers: what each host with room could give to one more node of a class, the best first.

Kept from turn to turn as a heap that is right when it is read: what became better since was written into the planner's
log and is taken in before; what became worse is noticed when it comes to the top.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from coordinator.core import costs, fit, score
from coordinator.core.asks import Asks, Option
from coordinator.core.hardware import Hardware
from coordinator.core.ids import HostId
from coordinator.core.model import Host
from coordinator.core.spec import Optimize
from coordinator.core.usage import Usage

if TYPE_CHECKING:
    from coordinator.core.state import State


@dataclass(frozen=True, slots=True)
class Offer:
    """Room on a host for one node, as good as ``key`` says (the least is the best), and why."""

    key: score.Key
    host: Host
    option: Option
    match: fit.Match
    terms: score.Terms


class _Fit(NamedTuple):
    """How one option goes with hardware of one shape: the part of the host that a node holds, and how long."""

    option: Option
    match: fit.Match
    part: float
    hours: float
    # Whether that is more than a guess.
    paced: bool


_NOTHING = Usage()


# Key, number of the entry (the highest of a host counts), host.
_Entry = tuple[score.Key, int, HostId]


class Offers:
    """The offers to one class of jobs."""

    __slots__ = ("_domains", "_entries", "_fits", "_heap", "_here", "_latest", "_read", "_taken", "asks", "looks")

    def __init__(self, asks: Asks) -> None:
        self.asks = asks
        # How many hosts were ever looked at: what a turn is measured by.
        self.looks = 0
        self._heap: list[_Entry] = []
        self._latest: dict[HostId, int] = {}
        self._entries = 0
        # How much of the planner's logs was read.
        self._read: int | None = None
        self._taken = 0
        self._fits: dict[int, tuple[_Fit, ...]] = {}
        # Of a job that spreads its nodes: how many there are in each domain, and on each host.
        self._domains: dict[Hashable, int] = {}
        self._here: dict[HostId, int] = {}

    # ------------------------------------------------------------ reading

    def refresh(self, state: State) -> None:
        """Take in what changed since."""
        planning = state.planning
        recount = self.count_nodes(state)
        changed = None if self._read is None or recount else planning.freed.since(self._read)
        if changed is not None and self.asks.optimize is Optimize.PACK:
            taken = planning.taken.since(self._taken)
            changed = None if taken is None else [*changed, *taken]
        self._read, self._taken = planning.freed.end, planning.taken.end
        if changed is None:
            self._rebuild(state)
            return
        for host in dict.fromkeys(changed):
            self.put_back(state, host)
        if len(self._heap) > 2 * len(self._latest) + 64:
            self._heap = [entry for entry in self._heap if self._latest.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def _rebuild(self, state: State) -> None:
        self._latest = {}
        found = (self.offer(state, host) for host in state.hosts)
        self._heap = [self._entry(offer) for offer in found if offer is not None]
        heapq.heapify(self._heap)

    def take(self, state: State) -> Offer | None:
        """Take the best offer out; None when no host has room. ``put_back`` brings in what is left of it."""
        heap = self._heap
        while heap:
            key, number, host_id = heap[0]
            if self._latest.get(host_id) != number:
                heapq.heappop(heap)
                continue
            offer = self.offer(state, host_id)
            if offer is not None and offer.key > key:
                heapq.heapreplace(heap, self._entry(offer))
                continue
            heapq.heappop(heap)
            del self._latest[host_id]
            if offer is not None:
                return offer
        return None

    def put_back(self, state: State, host: HostId) -> Offer | None:
        """Bring in what the host has room for now, which is answered too; None without room."""
        offer = self.offer(state, host)
        if offer is None:
            self._latest.pop(host, None)
        else:
            heapq.heappush(self._heap, self._entry(offer))
        return offer

    def standing(self, state: State) -> list[Offer]:
        """All offers, the best first; they stay in."""
        found = []
        while (offer := self.take(state)) is not None:
            found.append(offer)
        for offer in found:
            self.put_back(state, offer.host.id)
        return found

    def placed(self, host: Host) -> None:
        """A node of the class's only job was placed there."""
        if self.asks.spread is not None:
            domain = score.domain_of(self.asks.spread, host)
            self._domains[domain] = self._domains.get(domain, 0) + 1
            self._here[host.id] = self._here.get(host.id, 0) + 1

    # ------------------------------------------------------------ looking at one host

    def offer(self, state: State, host_id: HostId, *, idle: bool = False) -> Offer | None:
        """What the host offers now (``idle``: if nothing were held, and it took work): of the options with room there
        the best; None without any."""
        self.looks += 1
        host = state.hosts.get(host_id)
        if host is None or host.hardware is None or (not idle and fit.unusable(host) is not None):
            return None
        hardware, usage = host.hardware, state.usage[host_id] if not idle else _NOTHING
        best: Offer | None = None
        paced = False
        for found in self._fits_of(state, host, hardware):
            if not fit.has_room(hardware, usage, found.option.need, found.match):
                continue
            if best is not None and not (paced and found.paced):
                continue  # Nothing is known that speaks against the first one.
            if fit.refuses(host, found.option.need) is not None:
                continue
            terms = self._terms(state, host, found)
            key = score.key(self.asks.optimize, terms, near=self.asks.near is not None)
            if best is None or key < best.key:
                best, paced = Offer(key, host, found.option, found.match, terms), found.paced
        return best

    def _terms(self, state: State, host: Host, found: _Fit) -> score.Terms:
        domain = 0
        if self.asks.spread is not None:
            domain = self._domains.get(score.domain_of(self.asks.spread, host), 0)
        return score.Terms(
            rate=score.price(host) * found.part,
            hours=found.hours,
            latency=self._latency(state, host.id),
            held=score.held_of(host, state.usage[host.id]),
            domain=domain,
            here=self._here.get(host.id, 0),
            number=score.number(host),
        )

    def _latency(self, state: State, host: HostId) -> float:
        if self.asks.near is None:
            seconds = state.distances.round_trip(host)
        else:
            known = state.distances.of(self.asks.near).get(host)
            seconds = None if known is None else known.seconds
        return inf if seconds is None else seconds

    def _fits_of(self, state: State, host: Host, hardware: Hardware) -> tuple[_Fit, ...]:
        """The options that the host's hardware could hold when idle."""
        shape = state.planning.shape_of(host.id, hardware)
        found = self._fits.get(shape)
        if found is None:
            each = (self._fit(hardware, option) for option in self.asks.options)
            found = self._fits[shape] = tuple(fits for fits in each if fits.match.never is None)
        return found

    def _fit(self, hardware: Hardware, option: Option) -> _Fit:
        match, need = fit.match(hardware, option.need), option.need
        part = costs.dominant(hardware, need.cpus, need.memory_bytes, need.gpus * need.share)
        model = hardware.gpus[match.gpus[0]].name if match.gpus else ""
        paced = option.speed is not None or self.asks.pace.of(option.name, model) is not None
        return _Fit(option, match, part, self.asks.hours(option, model), paced)

    def _entry(self, offer: Offer) -> _Entry:
        self._entries += 1
        self._latest[offer.host.id] = self._entries
        return offer.key, self._entries, offer.host.id

    def count_nodes(self, state: State) -> bool:
        """Count the nodes of a job that spreads them; whether there are other ones than were known."""
        if self.asks.alone is None or self.asks.spread is None:
            return False
        domains: dict[Hashable, int] = {}
        here: dict[HostId, int] = {}
        for allocation_id in state.job_allocations.get(self.asks.alone, ()):
            host = state.hosts[state.allocations[allocation_id].host_id]
            domain = score.domain_of(self.asks.spread, host)
            domains[domain] = domains.get(domain, 0) + 1
            here[host.id] = here.get(host.id, 0) + 1
        changed = domains != self._domains or here != self._here
        self._domains, self._here = domains, here
        return changed
