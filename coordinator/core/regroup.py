"""Which hosts a gang's next generation has, and who has which rank: whoever did not fail stays where it was.

While a gang that is to be formed again comes to its end, its members' resources stay held, so that no other job takes
the survivors' places. They are given up when it is formed, or when it can't be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import inf

from coordinator.core import costs, fit, groups, nearness, needs, score
from coordinator.core.changes import AllocationUpdated, DeadlineSet, GangDissolved
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Allocation, EndCause, Gang, GangPhase, Host, HostState, Job, Phase
from coordinator.core.score import same_domain
from coordinator.core.spares import is_spare, let_go
from coordinator.core.spec import JobSpec, Optimize
from coordinator.core.state import State
from coordinator.core.turn import Turn

# Ends after which the next generation would rather have another host than this one.
HOST_FAULTS = (EndCause.HOST, EndCause.UNREACHABLE, EndCause.START_FAILED)
# So many moved ranks are named in the job's reason.
NAMED_MOVES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """Hosts by rank, what their nodes hold there, and the variant that all run. ``moves`` says for each rank that has
    another host than before why it left; ``strayed`` is whether one left a host that did not fail. ``price`` in USD an
    hour."""

    hosts: tuple[HostId, ...]
    held: tuple[fit.Held, ...]
    variant: str = ""
    moves: tuple[str, ...] = ()
    strayed: bool = False
    price: float = 0.0


Bars = Callable[[Job, fit.Need, Host], bool]


def choose(state: State, job: Job, bars: Bars) -> Choice | None:
    """The best group for the job's next generation, without hosts that somebody else ``bars``; None when none can be
    formed now. All run one variant: that of the last generation, if it can be, or else the best."""
    last = {node.variant for node in state.nodes.get(job.id, {}).values() if node.variant}
    best: Choice | None = None
    for variant in sorted(needs.variants_of(job.spec), key=lambda name: name not in last):
        found = _choose(state, job, bars, variant)
        if found is not None and (best is None or _does_more(job, found, best)):
            best = found
        if best is not None and variant in last:
            break
    return best


def plan(state: State, spec: JobSpec) -> Choice | None:
    """The group that a new job with this specification would get now; nothing is held for it."""
    job = Job(JobId(""), 0, "", "", "", spec, 0.0)
    return choose(state, job, lambda *_: False)


def _does_more(job: Job, one: Choice, other: Choice) -> bool:
    """Whether a group does more work for its price than another; the order of the list stands unless speeds say so."""
    speed, others = needs.speed_of(job.spec, one.variant), needs.speed_of(job.spec, other.variant)
    if not speed or not others:
        return False
    return (one.price / speed, -speed) < (other.price / others, -others)


def _choose(state: State, job: Job, bars: Bars, variant: str) -> Choice | None:
    parts = needs.parts_of(job.spec, variant)
    held = {a.host_id: a for a in _held(state, job)}
    nodes = state.nodes.get(job.id, {}).values()
    last = {node.host_id: node.rank for node in nodes if node.host_id is not None}
    fits = _Fits(state, parts, held)
    found = ((host.id, fits.parts_for(job, host, bars)) for host in state.hosts.values())
    able = {host: numbers for host, numbers in found if numbers}
    stay: dict[HostId, int] = {}
    for host, rank in last.items():
        own = next((number for number in able.get(host, ()) if rank in parts[number].ranks), None)
        if own is not None and host not in job.avoids:
            able[host] = (own,)
            stay[host] = rank
    rates = {host: min(_rate(state, host, parts[n]) for n in numbers) for host, numbers in able.items()}
    best = {host: _preference(state, job.spec, host, rates[host], len(numbers)) for host, numbers in able.items()}
    hosts = sorted((state.hosts[host] for host in able), key=lambda h: (_order(state, job, h, stay, held), best[h.id]))
    seats = groups.Seats(tuple(part.count for part in parts), able) if len(parts) > 1 else None
    tiers = {host.id: _tier(state, job, host, held) for host in hosts if host.id not in stay}
    far = {host: _far(state, job.spec, host) for host in able}
    wish = groups.Wish(job.spec.optimize, frozenset(stay), tiers, rates, far)
    group = groups.find_group(state, hosts, job.spec.nodes, wish, seats)
    if group is None:
        return None
    seated = dict.fromkeys(group, 0) if seats is None else seats.take(group)
    assert seated is not None  # it was found to do
    by_rank = _by_rank(state, seated, parts, last)
    price = sum(_rate(state, host, parts[seated[host]]) for host in by_rank)
    picks = [fits.pick(state.hosts[host], seated[host]) for host in by_rank]
    choice = Choice(by_rank, tuple(pick for pick in picks if pick is not None), variant, price=price)
    return _explained(state, job, choice, parts, held, last)


def _explained(
    state: State,
    job: Job,
    choice: Choice,
    parts: Sequence[needs.Part],
    held: dict[HostId, Allocation],
    last: dict[HostId, int],
) -> Choice:
    """With who moved, and why."""
    moves, strayed = [], False
    for old, rank in last.items():
        new = choice.hosts[rank]
        if new != old:
            need = next(part.need for part in parts if rank in part.ranks)
            why = _why_left(state, job, old, held.get(old), need)
            moves.append(f"rank {rank} moved from {_name(state, old)} to {_name(state, new)}: {why}")
            strayed = strayed or old not in job.avoids
    return replace(choice, moves=tuple(moves), strayed=strayed)


class _Fits:
    """How hosts answer the needs of a job's parts, worked out once for all that are alike."""

    def __init__(self, state: State, parts: Sequence[needs.Part], held: dict[HostId, Allocation]) -> None:
        self._state, self._parts, self._held = state, parts, held
        self._known: dict[tuple[int, int], fit.Match] = {}

    def parts_for(self, job: Job, host: Host, bars: Bars) -> tuple[int, ...]:
        """The parts in which the host could take a place now."""
        if fit.unusable(host) is not None:
            return ()
        return tuple(
            number
            for number, part in enumerate(self._parts)
            if self.pick(host, number) is not None
            and fit.refuses(host, part.need) is None
            and not bars(job, part.need, host)
        )

    def pick(self, host: Host, number: int) -> fit.Held | None:
        """What a node of the part would hold, as if what the job holds there already were free."""
        hardware, need = host.hardware, self._parts[number].need
        assert hardware is not None
        key = (self._state.planning.shape_of(host.id, hardware), number)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = fit.match(hardware, need)
        if found.never is not None:
            return None
        usage, own = self._state.usage[host.id], self._held.get(host.id)
        return fit.pick(hardware, usage if own is None else usage.without(own), need, found)


def _rate(state: State, host: HostId, part: needs.Part) -> float:
    need = part.need
    return costs.rate(state.hosts[host], need.cpus, need.memory_bytes, need.gpus, need.share)


def _order(
    state: State, job: Job, host: Host, stay: dict[HostId, int], held: dict[HostId, Allocation]
) -> tuple[float, ...]:
    """Sort key: who stays, by rank; then by tier."""
    if host.id in stay:
        return (0, stay[host.id])
    return (1, _tier(state, job, host, held))


def _preference(state: State, spec: JobSpec, host_id: HostId, rate: float, uses: int) -> tuple[float, ...]:
    """Sort key by what the job goes for; at the same price a host of fewer ``uses`` in this job comes first."""
    host = state.hosts[host_id]
    held = score.held_of(host, state.usage[host_id])
    key = score.key(spec.optimize, score.Terms(rate, 1.0, _far(state, spec, host_id), held, 0, 0, score.number(host)))
    return (rate, uses, *key) if spec.optimize is Optimize.COST else key


def _far(state: State, spec: JobSpec, host: HostId) -> float:
    """Seconds to what the job wants to be near to; without that, how far the coordinator is counts for nothing."""
    if spec.near is None:
        return 0.0
    seconds = nearness.seconds(state, host, spec.near)
    return inf if seconds is None else seconds


def _tier(state: State, job: Job, host: Host, held: dict[HostId, Allocation]) -> int:
    """Outside of where it failed comes first; then spares, the prepared before others."""
    spare = held.get(host.id)
    readiness = 2 if spare is None else int(spare.observed is not Phase.PREPARED)
    return 3 * _avoidance(state, job, host) + readiness


def _avoidance(state: State, job: Job, host: Host) -> int:
    if host.id in job.avoids:
        return 3
    failed = (state.hosts[h] for h in job.avoids if h in state.hosts)
    return 2 if any(same_domain(job.spec.spread, one, host) for one in failed) else 1


def _by_rank(
    state: State, seated: dict[HostId, int], parts: Sequence[needs.Part], last: dict[HostId, int]
) -> tuple[HostId, ...]:
    """The hosts by rank: who had one in the same part keeps it; the others so that neighbours are near each other."""
    by_rank = {last[host]: host for host, part in seated.items() if last.get(host, -1) in parts[part].ranks}
    for number, part in enumerate(parts):
        others = [host for host, own in seated.items() if own == number and by_rank.get(last.get(host, -1)) != host]
        vacant = (rank for rank in part.ranks if rank not in by_rank)
        by_rank.update(zip(vacant, groups.in_line(state, others) if others else (), strict=True))
    return tuple(by_rank[rank] for rank in range(len(by_rank)))


def _unable(state: State, host: Host, own: Allocation | None, need: fit.Need) -> str | None:
    """Why the host can't hold a member, as if what it holds for the job already were free; None when it can."""
    usage = state.usage[host.id]
    if own is not None:
        usage = usage.without(own)
    return fit.unusable(host) or fit.never(host, need) or fit.not_now(host, usage, need)


def _why_left(state: State, job: Job, old: HostId, own: Allocation | None, need: fit.Need) -> str:
    host = state.hosts.get(old)
    if host is None:
        return "that host was removed"
    if old in job.avoids:
        measured = job.preflight
        slow = measured is not None and measured.generation == job.generation and host.name in measured.blamed
        return "that host is slow" if slow else "that host failed"
    return _unable(state, host, own, need) or "it does not reach the others, or is not reached"


def _name(state: State, host: HostId) -> str:
    return state.hosts[host].name if host in state.hosts else host


def why_again(job: Job, choice: Choice) -> str:
    """What a job that is formed again says of it: why, and who had to move."""
    moves = "; ".join(choice.moves[:NAMED_MOVES])
    more = f" and {len(choice.moves) - NAMED_MOVES} more" if len(choice.moves) > NAMED_MOVES else ""
    again = f"formed again after: {job.reason}" if job.reason else "formed again"
    return f"{again}; {moves}{more}" if moves else again


def avoiding(job: Job, gang: Gang, *failed: HostId) -> Job:
    """The job, whose next generation would rather do without the hosts that ``failed`` this one.

    What a formed group's hosts did before is forgotten with its loss; before a group is formed failures add up.
    """
    known = () if gang.phase is GangPhase.RUNNING else job.avoids
    return replace(job, avoids=(*known, *(host for host in failed if host not in known)))


# ---------------------------------------------------------------- what is kept in between


def reform_deadline(job: Job) -> str:
    """The key of the deadline until which survivors out of contact are waited for."""
    return f"reform:{job.id}"


def keep(turn: Turn, allocation: Allocation, reason: str) -> None:
    """The member is gone; what it held stays held for the next generation."""
    kept = replace(allocation, wanted=Phase.STOPPING, observed=Phase.ENDED)
    turn.record(AllocationUpdated(replace(kept, stop_reason=allocation.stop_reason or reason)))
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))


def is_kept(job: Job, allocation: Allocation) -> bool:
    """Whether the allocation is what is left of a member that is gone."""
    return allocation.observed is Phase.ENDED and not is_spare(job.spec, allocation)


def live_members(state: State, job: Job) -> list[Allocation]:
    """The allocations of members that are not gone, in the order of their ids."""
    return [a for a in _held(state, job) if not is_spare(job.spec, a) and a.observed is not Phase.ENDED]


def awaited(state: State, job: Job) -> bool:
    """Whether a held host may yet be of use: it is out of contact, or not all probes are in. For a bounded time."""
    if reform_deadline(job) not in state.deadlines:
        return False
    hosts = [a.host_id for a in _held(state, job)]
    if any(state.hosts[host].state is not HostState.ONLINE for host in hosts):
        return True
    return any(not state.reach.probed(source, target) for source, target in permutations(hosts, 2))


def dissolve(turn: Turn, job: Job, used: Iterable[HostId] | None = None) -> None:
    """End the gang: what was kept of its members is free, and so are those spares that are in ``used`` (None: all)."""
    used = None if used is None else set(used)
    for allocation in _held(turn.state, job):
        if used is None or not is_spare(job.spec, allocation) or allocation.host_id in used:
            let_go(turn, allocation)
    turn.record(DeadlineSet(reform_deadline(job), None))
    turn.record(GangDissolved(job.id))


def _held(state: State, job: Job) -> list[Allocation]:
    return [state.allocations[a] for a in sorted(state.job_allocations.get(job.id, ()))]
