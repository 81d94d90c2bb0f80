"""Preemption: who waits with a higher priority takes the place of nodes whose jobs say ``preemptible: true``.

Only what is of a strictly lower priority makes place, through its stop signal and grace, and only if the head then
fits: the lowest priority first, then what began last, and no more than it takes. What made place is placed again later,
as if that attempt had never been; a gang makes place as a whole. A job that was itself preempted preempts nobody, and
the copies of a node with redundancy are left alone: each stands for the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from coordinator.core import fit, groups, needs, score
from coordinator.core.book import Expected, Reservation
from coordinator.core.changes import JobUpdated
from coordinator.core.expected import DEFAULT_STOP_GRACE, holders, usage_of
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.model import Allocation, Gang, GangPhase, Host, Job, JobState, Phase
from coordinator.core.spares import is_spare
from coordinator.core.spec import Placement
from coordinator.core.state import State
from coordinator.core.stopping import Stop, abort_gang, stop_allocation, stop_of
from coordinator.core.turn import Turn
from coordinator.core.usage import Usage

# For so many nodes of one job room is made at once.
MAX_NODES = 64
# Seconds until a search that found nothing is repeated.
AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Victim:
    """What makes place as one: the node of an ``any`` job, or a whole gang."""

    priority: int
    since: float
    job_id: JobId
    allocations: tuple[Allocation, ...]

    @property
    def order(self) -> tuple[int, float, str]:
        """Sort key: who goes first."""
        return (self.priority, -self.since, self.allocations[0].id)


def plan(turn: Turn) -> None:
    """Have others make place for those at the head of the queue that may ask for it. Once a turn, after the plan."""
    state = turn.state
    for found in tuple(state.book.reservations.values()):
        job = state.jobs[found.job_id]
        if _may_preempt(state, job, found, turn.at.served):
            victims, hosts = _search(state, job, _lower(state, job))
            for victim in victims:
                _take_place(turn, victim, job)
            if victims:
                _keep(state, found, hosts, turn.at.served)
            else:
                state.book.retry_at[job.id] = turn.at.served + AGAIN


def waiting(state: State, job: Job) -> str:
    """What the job waits for since others make place for it; empty when none does."""
    ending = len(state.book.ceded.get(job.id, ()))
    if not ending:
        return ""
    return f"waits for {ending} preempted {'node' if ending == 1 else 'nodes'} to end"


def _may_preempt(state: State, job: Job, found: Reservation, now: float) -> bool:
    if job.spec.groups:
        # Of nodes that are not alike no search knows yet whether all of them would fit.
        return False
    if not job.spec.priority or job.preempted or not found.hosts or state.book.ceded.get(job.id):
        return False
    return now >= state.book.retry_at.get(job.id, 0.0) and not found.start.known_by(now + DEFAULT_STOP_GRACE)


# ---------------------------------------------------------------- who may have to make place


def _lower(state: State, job: Job) -> list[Victim]:
    """Everything that may be preempted by the job."""
    found: list[Victim] = []
    for other_id in state.unfinished:
        other = state.jobs[other_id]
        spec = other.spec
        if not spec.preemptible or spec.priority >= job.spec.priority or spec.redundancy > 1:
            continue
        if other.state is not JobState.STOPPING and state.job_allocations[other_id]:
            found.extend(_victims(state, other))
    return sorted(found, key=lambda victim: victim.order)


def _victims(state: State, job: Job) -> Iterable[Victim]:
    held = [state.allocations[a] for a in sorted(state.job_allocations[job.id])]
    gang = state.gangs.get(job.id)
    if gang is None:
        running = (a for a in held if a.wanted is not Phase.STOPPING and a.behind is None)
        ways = [_chain(state, a) for a in running]
    else:
        ways = [tuple(held)] if gang.phase in (GangPhase.PREPARING, GangPhase.RUNNING) else []
    return (Victim(job.spec.priority, max(a.held_since for a in way), job.id, way) for way in ways)


def _chain(state: State, first: Allocation) -> tuple[Allocation, ...]:
    """The allocation and what waits behind it, which would take its place."""
    chain, following = [first], state.chains.following
    while chain[-1].id in following:
        chain.append(state.allocations[following[chain[-1].id]])
    return tuple(chain)


# ---------------------------------------------------------------- who has to


@dataclass(slots=True)
class _Room:
    """What a search knows: who may go, what is as good as gone, and what was given away already."""

    state: State
    need: fit.Need
    victims: dict[HostId, list[Victim]]
    gone: set[AllocationId]
    given: dict[HostId, list[Allocation]]

    def fits(self, host: Host, without: Iterable[Victim]) -> bool:
        """Whether one more node has room there once these are gone too."""
        return fit.not_now(host, self.usage(host, without), self.need) is None

    def usage(self, host: Host, without: Iterable[Victim]) -> Usage:
        """What will be held of the host."""
        gone = self.gone.union(a.id for victim in without for a in victim.allocations)
        held = (a for a in holders(self.state, host) if a.id not in gone)
        return usage_of([*held, *self.given.get(host.id, ())])

    def fewest(self, host: Host) -> list[Victim] | None:
        """Who has to go from the host for one more node; None when that does not help."""
        victims = [v for v in self.victims.get(host.id, ()) if not self.gone.issuperset(a.id for a in v.allocations)]
        if self.fits(host, ()):
            return []
        low, high = 1, len(victims)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(host, victims[:middle]) else (middle + 1, high)
        if not victims or not self.fits(host, victims[:low]):
            return None
        return _without_needless(victims[:low], lambda left: self.fits(host, left))


_Found = tuple[list[Victim], list[HostId]]


def _search(state: State, job: Job, lower: list[Victim]) -> _Found:
    """Who has to make place so that the job's nodes, or its gang, fit, and where; nobody when it would not help."""
    if not lower:
        return [], []
    need = needs.leading(job.spec).need
    room = _Room(state, need, _by_host(lower), _going(state), {})
    others = {
        host
        for found in state.book.reservations.values()
        if found.job_id != job.id and state.jobs[found.job_id].spec.priority >= job.spec.priority
        for host in found.hosts
    }
    hosts = [
        host
        for host in state.hosts.values()
        if host.id not in others and fit.unusable(host) is None and fit.never(host, need) is None
    ]
    return _for_nodes(state, job, room, hosts) if job.spec.placement is Placement.ANY else _for_gang(job, room, hosts)


def _for_nodes(state: State, job: Job, room: _Room, hosts: list[Host]) -> _Found:
    wanted = min(MAX_NODES, len(state.ready[job.id]))
    chosen: list[Victim] = []
    offers = [(_cost(found), host.id) for host in hosts if (found := room.fewest(host)) is not None]
    heapq.heapify(offers)
    while offers and wanted:
        host = state.hosts[heapq.heappop(offers)[1]]
        found = room.fewest(host)
        if found is None:
            continue
        wanted -= 1
        chosen += found
        room.gone.update(a.id for victim in found for a in victim.allocations)
        held = fit.hold(host, room.usage(host, ()), room.need)
        assert held is not None  # room.fewest just checked
        place = fit.allocation(job, wanted, 0, host, held, Phase.RUNNING, 0.0)
        room.given.setdefault(host.id, []).append(place)
        if (more := room.fewest(host)) is not None:
            heapq.heappush(offers, (_cost(more), host.id))
    return chosen, list(room.given)


def _for_gang(job: Job, room: _Room, hosts: list[Host]) -> _Found:
    found = {host.id: victims for host in hosts if (victims := room.fewest(host)) is not None}
    able = [host for host in hosts if host.id in found]
    able.sort(key=lambda host: (_cost(found[host.id]), score.price(host), host.id))
    group = groups.find_group(room.state, able, job.spec.nodes, groups.IN_ORDER)
    if group is None:
        return [], []
    members = [room.state.hosts[host] for host in group]
    chosen = {victim.allocations[0].id: victim for host in group for victim in found[host]}
    in_order = sorted(chosen.values(), key=lambda victim: victim.order)
    return _without_needless(in_order, lambda left: all(room.fits(host, left) for host in members)), list(group)


def _without_needless(victims: list[Victim], enough: Callable[[list[Victim]], bool]) -> list[Victim]:
    """The victims without those whose end is not needed, the most valuable spared first."""
    left = list(victims)
    for victim in reversed(victims):
        others = [each for each in left if each is not victim]
        if enough(others):
            left = others
    return left


def _cost(victims: list[Victim]) -> tuple[int, int, float]:
    """Of two ways to make room the one that costs less is taken: by priority, by number, by what is lost."""
    highest = max((victim.priority for victim in victims), default=-1)
    return (highest, sum(len(v.allocations) for v in victims), -sum(v.since for v in victims))


def _by_host(victims: list[Victim]) -> dict[HostId, list[Victim]]:
    found: dict[HostId, list[Victim]] = {}
    for victim in victims:
        for host in {a.host_id: None for a in victim.allocations}:
            found.setdefault(host, []).append(victim)
    return found


def _going(state: State) -> set[AllocationId]:
    """What is being stopped already."""
    return {a.id for a in state.allocations.values() if a.wanted is Phase.STOPPING}


# ---------------------------------------------------------------- making place


def _take_place(turn: Turn, victim: Victim, winner: Job) -> None:
    state = turn.state
    job = state.jobs[victim.job_id]
    reason = f"preempted by job {winner.name} (priority {winner.spec.priority})"
    stop = replace(stop_of(job, reason), preempted_by=winner.id)
    gang = state.gangs.get(job.id)
    if gang is None:
        for allocation in victim.allocations:
            stop_allocation(turn, state.allocations[allocation.id], stop)
        return
    turn.record(JobUpdated(replace(job, preempted=job.preempted + 1)))
    _stop_gang(turn, job, gang, stop)


def _keep(state: State, before: Reservation, hosts: list[HostId], now: float) -> None:
    """The places that are made are the winner's."""
    grace = max(state.allocations[a].stop_grace for a in state.book.ceded[before.job_id])
    state.book.reservations[before.job_id] = replace(before, hosts=tuple(hosts), start=Expected(now + grace, True))
    # Those that were kept for it are open to who waits.
    state.changed_hosts.update(set(before.hosts).difference(hosts))


def _stop_gang(turn: Turn, job: Job, gang: Gang, stop: Stop) -> None:
    abort_gang(turn, gang, stop, retry=True)
    for allocation_id in sorted(turn.state.job_allocations[job.id]):
        allocation = turn.state.allocations[allocation_id]
        if is_spare(job.spec, allocation):
            stop_allocation(turn, allocation, stop)
