"""Reservations: hosts that are kept for who waits at the head of the queue, so that small work never starves a gang.

EASY backfill: a job whose nodes find no room gets a *reservation*, the hosts that are expected to have room for it
soonest, and a *start*, the moment when all have. Who comes after it in the queue may use these hosts only so that the
start is not put off: with work that ends in time, by its ``max_duration``, or with what the head does not need.

One ``Walk`` is one pass over the queue, in its order. It knows the reservations of those who were passed and could not
be placed; these bind everybody who comes later. Between passes they are in the state's book, and are worked out anew
only when a host of theirs changed, or when another one would do sooner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from coordinator.core import fit, groups, needs, score
from coordinator.core.book import FREE, Expected, FreeTimes, Reservation
from coordinator.core.expected import end_of, free_at, holders, longest, usage_of
from coordinator.core.gpus import matching_gpus
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Host, Job
from coordinator.core.spec import Placement, Range
from coordinator.core.state import State
from coordinator.core.usage import Usage

# So many jobs that wait have a reservation at a time, the first in the queue. More keep small work waiting for longer
# and start gangs no sooner: see docs/performance.md.
MAX_HEADS = 4
# So many are looked at for one; those that no hosts could hold as things are have none.
MAX_TRIED = 16
# So many hosts are looked at anew in one pass, to keep a turn short; the next pass goes on with the others.
MAX_LOOKS = 200
# So many are looked at for whoever asks when a job is expected to start.
MAX_ASKED = 1000

# Of the time until an estimated start, so much must be saved by hosts that are to be kept in place of others.
SOONER = 0.1
NEVER = Expected(math.inf, True)


@dataclass(frozen=True, slots=True)
class Kept:
    """A host that is kept for a node of a job that comes first, from ``start`` on."""

    need: fit.Need
    start: float


def begin(state: State, now: float) -> bool:
    """A turn begins. Whether a pass is due even if nothing has changed: the last one had not looked at every host."""
    behind = state.book.behind
    state.book.begin(now, MAX_LOOKS)
    return behind


class Walk:
    """One pass over the queue at ``now`` (served seconds). ``kept`` binds whoever has not been passed yet."""

    def __init__(self, state: State, now: float) -> None:
        self.kept: dict[HostId, Kept] = {}
        self._state = state
        self._book = state.book
        self._now = now
        self._heads = 0
        self._made: dict[JobId, Reservation] = {}
        self._needs: dict[fit.Need, None] = {}
        self._single: set[fit.Need] = set()

    def allowed(self, job: Job, need: fit.Need, host: Host, room: int) -> int:
        """How many of the ``room`` nodes that the host could hold may go there without delaying who comes first."""
        kept = self.kept.get(host.id)
        if kept is None or room <= 0:
            return room
        state = self._state
        seconds = longest(job.spec)
        if seconds is not None and self._now + seconds <= kept.start:
            return room
        held = holders(state, host)
        staying = usage_of(a for a in held if not end_of(state, a, self._now).known_by(kept.start))
        return _beside(host, staying, kept.need, need, room)

    def bars(self, job: Job, need: fit.Need, host: Host) -> bool:
        """Whether one more node may not go there though it has room. What a job holds there already is its own."""
        if host.id not in self.kept or self.allowed(job, need, host, 1):
            return False
        return self._state.job_allocations[job.id].isdisjoint(self._state.usage[host.id].allocations)

    def blocked(self, job: Job) -> None:
        """The job was passed and waits for room: keep hosts for it, if it is one of the first."""
        need, nodes = _asked(job)
        single = job.spec.placement is Placement.ANY
        if self.full or (single and need in self._single):
            # What is kept for one node is of use to the next that asks for the same.
            return
        self._book.take_changes()
        self._look(need)
        found = self._book.reservations.get(job.id)
        if found is None or not self._stands(found, need, nodes):
            found = self._find(job, need, nodes)
        self._made[job.id] = found
        if found.hosts:
            self._heads += 1
            if single:
                self._single.add(need)
            self.kept.update(dict.fromkeys(found.hosts, Kept(need, found.start.at)))

    @property
    def full(self) -> bool:
        """Whether nobody else who is passed gets a reservation."""
        return self._heads >= MAX_HEADS or len(self._made) >= MAX_TRIED

    def close(self, *, done: bool) -> set[HostId]:
        """The pass is over, or goes on in the next turn if it is not ``done``. The hosts that are kept no longer, or
        certainly for later: others may use them now."""
        if not done:
            # Who has not been passed yet keeps what it has.
            self._made = {**self._book.reservations, **self._made}
            self._needs.update(dict.fromkeys(self._book.free))
        before = _starts(self._book.reservations.values())
        now = _starts(self._made.values())
        self._book.keep(self._made, self._needs)
        return {host for host, start in before.items() if host not in now or start.known_by(now[host].at - 1.0)}

    # ------------------------------------------------------------ working it out

    def _look(self, need: fit.Need) -> None:
        """Look at hosts that changed, or were never looked at, as far as this turn may."""
        known = self._book.free.get(need)
        self._needs[need] = None
        if known is None:
            known = self._book.free[need] = FreeTimes(missing=dict.fromkeys(self._state.hosts))
        while known.missing and self._book.looks:
            self._book.looks -= 1
            self._look_at(known, need, known.missing.popitem()[0])
        self._book.behind = self._book.behind or bool(known.missing)

    def _look_at(self, known: FreeTimes, need: fit.Need, host_id: HostId) -> Expected | None:
        host = self._state.hosts.get(host_id)
        found = None if host is None else free_at(self._state, host, need, self._now)
        if found is None:
            known.times.pop(host_id, None)
        else:
            known.times[host_id] = found
        return found

    def _stands(self, found: Reservation, need: fit.Need, nodes: int) -> bool:
        """Whether the reservation is still true, and no other hosts are expected to do sooner."""
        start, times = found.start.at, self._book.free[need].times
        stale, self._book.stale[found.job_id] = self._book.stale[found.job_id], set()
        if not found.hosts:
            return not stale and not self._book.behind
        if self._book.ceded.get(found.job_id):
            # Others make place there: until all of it is gone nobody may creep into what is free already.
            return all(host in times and host not in self.kept for host in found.hosts)
        if start <= self._now or len(found.hosts) != nodes:
            return False
        if any(host in self.kept or not self._by(need, host, start) for host in found.hosts):
            return False
        # Estimates move with every node that ends: only one that is much sooner is worth a search.
        sooner = start - (start - self._now) * SOONER if found.start.estimated else start
        if not any(host in times and times[host].at < sooner for host in stale):
            return True
        return sum(at.at < sooner for host, at in times.items() if host not in self.kept) < nodes

    def _by(self, need: fit.Need, host: HostId, moment: float) -> bool:
        known = self._book.free[need]
        at = known.times.get(host)
        if at is not None and FREE < at <= Expected(self._now, True):
            # It should have been free by now, and is not.
            at = self._look_at(known, need, host)
        return at is not None and at.at <= moment

    def _find(self, job: Job, need: fit.Need, nodes: int) -> Reservation:
        """The hosts that are expected to have room soonest, among those that are not kept for others; maybe none."""
        known = self._book.free[need]
        for host in [host for host, at in known.times.items() if FREE.at < at.at <= self._now]:
            self._look_at(known, need, host)
        self._book.stale[job.id] = set()
        times = {host: at for host, at in known.times.items() if host not in self.kept}
        found = _soonest(self._state, times, nodes)
        if found is None or found[1].at <= self._now:
            return Reservation(job.id, (), NEVER)
        return Reservation(job.id, *found)


def _asked(job: Job) -> tuple[fit.Need, int]:
    """What the job waits for, and how many hosts with it: a node, or all of a group that are hardest to place."""
    if job.spec.placement is Placement.ANY:
        return needs.leading(job.spec).need, 1
    part = needs.leading(job.spec)
    return part.need, part.count


def _soonest(state: State, times: Mapping[HostId, Expected], nodes: int) -> tuple[tuple[HostId, ...], Expected] | None:
    """So many hosts that can form a group and have room soonest, and when the last of them has."""
    if len(times) < nodes:
        return None
    able = [state.hosts[host] for host in times]
    able.sort(key=lambda host: (times[host.id].at, score.price(host), host.id))
    group = groups.find_group(state, able, nodes, groups.IN_ORDER)
    if group is None:
        return None
    start = max(times[host].at for host in group)
    in_time = [host for host in able if times[host.id].at <= start]
    if len(in_time) > nodes:
        # Those that are busy longest: others may use what is idle until then.
        group = groups.find_group(state, in_time[::-1], nodes, groups.IN_ORDER) or group
    return group, Expected(start, any(times[host].estimated for host in group))


def _starts(made: Iterable[Reservation]) -> dict[HostId, Expected]:
    return {host: found.start for found in made for host in found.hosts}


def _beside(host: Host, staying: Usage, first: fit.Need, need: fit.Need, room: int) -> int:
    """How many nodes of ``need`` leave room for one of ``first`` beside what is ``staying``."""
    hardware = host.hardware
    assert hardware is not None
    if need.cpus:
        room = min(room, (hardware.cpus - staying.cpus - first.cpus) // need.cpus)
    if need.memory_bytes:
        room = min(room, (hardware.memory_bytes - staying.memory_bytes - first.memory_bytes) // need.memory_bytes)
    if need.gpus and first.gpus:
        wanted = first.resources.gpu
        if wanted is not None and wanted.total_memory_bytes != Range():
            return 0
        # As if it took those that the first one could use: on almost every host all are alike.
        left = sum(gpu.uuid not in staying.gpus for gpu in matching_gpus(hardware.gpus, wanted))
        room = min(room, (left - first.gpus) // need.gpus)
    return max(0, room)


def expected_start(state: State, job: Job) -> tuple[float, bool] | None:
    """In how many seconds the job's next nodes are expected to start, and whether that is a mere estimate.

    None: nobody knows, for no host, or no group of them, could hold it as things are.
    """
    now, found = state.book.at, state.book.reservations.get(job.id)
    if found is not None and found.hosts:
        return max(0.0, found.start.at - now), found.start.estimated
    need, nodes = _asked(job)
    looked = ((host.id, free_at(state, host, need, now)) for host in islice(state.hosts.values(), MAX_ASKED))
    times = {host: at for host, at in looked if at is not None}
    soonest = _soonest(state, times, nodes)
    return None if soonest is None else (max(0.0, soonest[1].at - now), soonest[1].estimated)
