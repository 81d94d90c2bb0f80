"""Reservations: hosts that are kept for who waits at the head of the queue, so that small work never starves a gang.

EASY backfill: a job whose nodes find no room gets a *reservation*, the hosts that are expected to have room for it
soonest, and a *start*, the moment when all have. Others of no higher priority may use these hosts only so that the
start is not put off: with work that ends in time, by its ``max_duration``, or with what the head does not need. That
holds also for those whose turn comes before the head's again, as users take turns: what was promised stays promised.

One ``Walk`` is one pass over the queue. Between passes reservations are in the state's book, and are worked out anew
only when a host of theirs changed, or when another one would do sooner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.core import fit
from coordinator.core.book import FREE, Expected, FreeTimes, Reservation
from coordinator.core.expected import end_of, free_at, holders, longest, usage_of
from coordinator.core.gpus import matching_gpus
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Host, Job, JobState
from coordinator.core.soonest import asked, soonest
from coordinator.core.spec import Placement, Range
from coordinator.core.state import State
from coordinator.core.usage import Usage

# So many jobs that wait have a reservation at a time; for so many more one is looked for in a pass, among so many.
MAX_HEADS = 16
MAX_TRIED = 8
# So many of those that could use the same hosts, by whether they place single nodes. With more of them groups begin
# sooner, and small work waits for longer: see docs/performance.md.
PROMISES = {True: 1, False: 2}
MAX_BLOCKED = 1000
# So many hosts are looked at anew in one pass, to keep a turn short; the next pass goes on with the others.
MAX_LOOKS = 150
# Of the time until an estimated start, so much must be saved by hosts that are to be kept in place of others.
SOONER = 0.1
NEVER = Expected(math.inf, True)


@dataclass(frozen=True, slots=True)
class Kept:
    """A host that is kept for a node of a job, from ``start`` on, against all jobs of no higher ``priority``."""

    job_id: JobId
    priority: int
    single: bool
    need: fit.Need
    start: float


def begin(state: State, now: float) -> bool:
    """A turn begins. Whether a pass is due even if nothing has changed: the last one had not looked at every host."""
    behind = state.book.behind
    state.book.begin(now, MAX_LOOKS)
    return behind


class Walk:
    """One pass over the queue at ``now`` (served seconds): what is ``kept`` meanwhile, and for whom."""

    def __init__(self, state: State, now: float) -> None:
        self.kept: dict[HostId, Kept] = {}
        self._state = state
        self._book = state.book
        self._now = now
        self._made: dict[JobId, Reservation] = {}
        self._needs: dict[fit.Need, None] = {}
        self._blocked: list[Job] = []
        self._ready: dict[JobId, int] = {}
        promised = [found for found in self._book.reservations.values() if found.hosts]
        heads = [state.jobs[found.job_id] for found in promised]
        for found in promised:
            # All of them first: whose hosts are late looks for others, but not among those that are promised, too.
            if _waits(state, state.jobs[found.job_id]):
                self._keep(state.jobs[found.job_id], found)
        for job in sorted(heads, key=lambda job: -job.spec.priority):
            if _waits(state, job):
                self._check(job)
                self._ready[job.id] = len(state.ready[job.id])

    def allowed(self, job: Job, need: fit.Need, host: Host, room: int) -> int:
        """How many of the ``room`` nodes that the host could hold may go there without delaying a promise."""
        kept = self.kept.get(host.id)
        if (
            kept is None
            or room <= 0
            or not _binds(kept, job)
            or (_is_single(job) and kept.single and kept.need == need)
        ):
            # Which of those who ask for the same goes first is a matter of shares.
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

    def promised(self, priority: int) -> list[Job]:
        """The jobs of this priority with a group, for which hosts are kept."""
        jobs = (self._state.jobs[job_id] for job_id, found in self._made.items() if found.hosts)
        return [job for job in jobs if job.spec.priority == priority and not _is_single(job)]

    def blocked(self, job: Job) -> None:
        """The job waits for room: hosts may be kept for it from the end of this pass on."""
        self._blocked.append(job)

    @property
    def full(self) -> bool:
        """Whether nobody else is considered in this pass."""
        return len(self._blocked) >= MAX_BLOCKED

    def close(self) -> set[HostId]:
        """The pass is over: promises are made. The hosts that are kept no longer, or certainly for later, are returned:
        others may use them now."""
        for job_id in tuple(self._made):
            job = self._state.jobs[job_id]
            if _waits(self._state, job) and self._ready.get(job_id, 0) == len(self._state.ready[job_id]):
                self._check(job)
            else:
                # It got what was promised.
                self._drop(job_id)
        self._promise()
        before = _starts(self._book.reservations.values())
        now = _starts(self._made.values())
        self._book.keep(self._made, self._needs)
        return {host for host, start in before.items() if host not in now or start.known_by(now[host].at - 1.0)}

    # ------------------------------------------------------------ who has one

    def _promise(self) -> None:
        """Keep hosts for the groups that have waited longest: shares decide who is placed where there is room, but no
        group is to wait for ever because of them. Of those that place single nodes, for whose turn it is."""
        jobs, shares, tried = self._state.jobs, self._state.shares, 0

        def turn(job: Job) -> tuple[int, float, float, int]:
            share = shares.key(job.user, self._now) if _is_single(job) else 0.0
            return (-job.spec.priority, share, job.waiting_since, job.number)

        waiting = [jobs[job.id] for job in self._blocked if job.id not in self._made and _waits(self._state, job)]
        for job in sorted(waiting, key=turn):
            lower = self._lower_rivals(job) if tried < MAX_TRIED else None
            if lower is not None:
                tried += 1
                self._check(job)
                for rival in lower if self._made[job.id].hosts else ():
                    self._drop(rival)

    def _lower_rivals(self, job: Job) -> list[JobId] | None:
        """Those that lose their promise if one is made to the job; None when it gets none.

        So many ``PROMISES`` at a time for each set of hosts.
        """
        heads = [self._state.jobs[job_id] for job_id, found in self._made.items() if found.hosts]
        rivals = [head for head in heads if _is_single(head) == _is_single(job) and self._share_hosts(job, head)]
        lower = sorted((r for r in rivals if r.spec.priority < job.spec.priority), key=lambda head: head.spec.priority)
        excess = max(len(rivals) + 1 - PROMISES[_is_single(job)], len(heads) + 1 - MAX_HEADS)
        if excess > len(lower):
            return None
        return [head.id for head in lower[: max(0, excess)]]

    def _share_hosts(self, one: Job, other: Job) -> bool:
        """Whether some host could hold nodes of both."""
        mine, others = asked(one)[0], asked(other)[0]
        self._look(mine)
        return mine == others or not self._book.free[mine].times.keys().isdisjoint(self._book.free[others].times)

    def _check(self, job: Job) -> None:
        """Keep what was kept for the job if that is still as good as anything, or else what is better."""
        self._book.take_changes()
        need, nodes = asked(job)
        self._look(need)
        found = self._made.get(job.id) or self._book.reservations.get(job.id)
        if found is None or not self._stands(job, found, need, nodes):
            found = self._find(job, need, nodes, promised=bool(found and found.hosts))
        elif self._may_be_sooner(job, found, need, nodes):
            # What is known is not given up for what is thought.
            other = self._find(job, need, nodes, promised=True, certain=not found.start.estimated)
            found = other if other.start.at < found.start.at else found
        self._drop(job.id)
        self._keep(job, found)

    def _keep(self, job: Job, found: Reservation) -> None:
        """These hosts are for the job; who had one of them loses its promise."""
        for host in found.hosts:
            if host in self.kept:
                self._drop(self.kept[host].job_id)
        self._made[job.id] = found
        kept = Kept(job.id, job.spec.priority, _is_single(job), asked(job)[0], found.start.at)
        self.kept.update(dict.fromkeys(found.hosts, kept))

    def _drop(self, job_id: JobId) -> None:
        found = self._made.pop(job_id, None)
        for host in found.hosts if found is not None else ():
            if host in self.kept and self.kept[host].job_id == job_id:
                del self.kept[host]

    def _taken(self, job: Job, host: HostId) -> bool:
        """Whether the host is kept for another job that the job may not take it from."""
        kept = self.kept.get(host)
        return kept is not None and _binds(kept, job)

    # ------------------------------------------------------------ working it out

    def _look(self, need: fit.Need) -> None:
        """Look at hosts that changed, or were never looked at, as far as this turn may."""
        known = self._book.free.get(need)
        self._needs[need] = None
        if known is None:
            known = self._book.free[need] = FreeTimes(missing=dict.fromkeys(self._state.hosts))
        while known.missing and self._book.looks:
            self._book.looks -= 1
            host = known.missing.popitem()[0]
            self._look_at(known, need, host)
            for stale in self._book.stale.values():
                stale.add(host)
        self._book.behind = self._book.behind or bool(known.missing)

    def _look_at(self, known: FreeTimes, need: fit.Need, host_id: HostId) -> Expected | None:
        host = self._state.hosts.get(host_id)
        found = None if host is None else free_at(self._state, host, need, self._now, known.matches)
        if found is None:
            known.times.pop(host_id, None)
        else:
            known.times[host_id] = found
        return found

    def _stands(self, job: Job, found: Reservation, need: fit.Need, nodes: int) -> bool:
        """Whether the reservation is still true."""
        start, known = found.start.at, self._book.free[need]
        if not found.hosts:
            return not self._stale(job) and not self._book.behind
        if self._book.ceded.get(found.job_id):
            # Others make place there: until all of it is gone nobody may creep into what is free already.
            return all(host in known.times and not self._taken(job, host) for host in found.hosts)
        if start <= self._now or len(found.hosts) != nodes:
            return False
        return not any(self._taken(job, host) or not self._by(known, need, host, start) for host in found.hosts)

    def _may_be_sooner(self, job: Job, found: Reservation, need: fit.Need, nodes: int) -> bool:
        """Whether hosts changed so that others than those of the reservation may do sooner."""
        stale, times, start = self._stale(job), self._book.free[need].times, found.start
        if not found.hosts or self._book.ceded.get(found.job_id):
            return False
        # Estimates move with every node that ends: only one that is much sooner is worth a search.
        sooner = start.at - (start.at - self._now) * SOONER if start.estimated else start.at

        def better(at: Expected) -> bool:
            return at.at < sooner and (start.estimated or not at.estimated)

        if not any(host in times and better(times[host]) for host in stale):
            return False
        return sum(better(at) for host, at in times.items() if not self._taken(job, host)) >= nodes

    def _stale(self, job: Job) -> set[HostId]:
        """The hosts that changed since the job's reservation was last looked at; they count as looked at now."""
        stale, self._book.stale[job.id] = self._book.stale.get(job.id, set()), set()
        return stale

    def _by(self, known: FreeTimes, need: fit.Need, host: HostId, moment: float) -> bool:
        at = known.times.get(host)
        if at is not None and FREE.at < at.at <= self._now:
            # It should have been free by now, and is not.
            at = self._look_at(known, need, host)
        return at is not None and at.at <= moment

    def _find(self, job: Job, need: fit.Need, nodes: int, *, promised: bool, certain: bool = False) -> Reservation:
        """The hosts that are expected to have room soonest, among those that are not kept for others; maybe none.

        Where there is room now what waits does not wait for room, unless it was ``promised`` some and comes to take it.
        ``certain``: only hosts of which it is known when they have.
        """
        known = self._book.free[need]
        # What should have been free by now, and is not.
        late = [host for host, at in known.times.items() if FREE.at < at.at <= self._now]
        known.missing.update(dict.fromkeys(late))
        self._look(need)
        self._book.stale[job.id] = set()

        def counts(host: HostId, at: Expected) -> bool:
            return host not in known.missing and not self._taken(job, host) and not (certain and at.estimated)

        times = {host: at for host, at in known.times.items() if counts(host, at)}
        found = soonest(self._state, times, nodes)
        if found is None or (found[1].at <= self._now and not promised):
            return Reservation(job.id, (), NEVER)
        return Reservation(job.id, found[0], max(found[1], Expected(self._now)))


def _binds(kept: Kept, job: Job) -> bool:
    return kept.job_id != job.id and kept.priority >= job.spec.priority


def _is_single(job: Job) -> bool:
    return job.spec.placement is Placement.ANY


def _waits(state: State, job: Job) -> bool:
    """Whether the job still waits for room."""
    if job.id not in state.unfinished or job.state is JobState.STOPPING or job.id in state.withheld:
        return False
    return bool(state.ready[job.id] if _is_single(job) else state.pending[job.id] and job.id not in state.gangs)


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
