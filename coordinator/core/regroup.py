"""Which hosts a gang's next generation has, and who has which rank: whoever did not fail stays where it was.

While a gang that is to be formed again comes to its end, its members' resources stay held, so that no other job takes
the survivors' places. They are given up when it is formed, or when it can't be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import permutations

from coordinator.core import costs, fit, groups, score
from coordinator.core.changes import AllocationUpdated, DeadlineSet, GangDissolved
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, EndCause, Gang, GangPhase, Host, HostState, Job, Phase
from coordinator.core.score import same_domain
from coordinator.core.spares import is_spare, let_go
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.usage import Usage

# Ends after which the next generation would rather have another host than this one.
HOST_FAULTS = (EndCause.HOST, EndCause.UNREACHABLE, EndCause.START_FAILED)
# So many moved ranks are named in the job's reason.
NAMED_MOVES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """Hosts by rank. ``moves`` says for each rank that has another host than before why it left; ``strayed`` is
    whether one left a host that did not fail."""

    hosts: tuple[HostId, ...]
    moves: tuple[str, ...] = ()
    strayed: bool = False


def choose(state: State, job: Job, bars: Callable[[Job, fit.Need, Host], bool]) -> Choice | None:
    """The best group for the job's next generation, without hosts that somebody else ``bars``; None when none can be
    formed now."""
    need = fit.Need.of(job.spec.resources)
    held = {a.host_id: a for a in _held(state, job)}
    last = {node.host_id: node.rank for node in state.nodes[job.id].values() if node.host_id is not None}
    fits = (host for host in state.hosts.values() if _unable(state, host, held.get(host.id), need) is None)
    able = [host for host in fits if not bars(job, need, host)]
    stay = frozenset(host.id for host in able if host.id in last and host.id not in job.avoids)
    rank_of = {host: last[host] for host in stay}
    able.sort(key=lambda host: _order(state, job, host, rank_of, held))
    wish = groups.Wish(
        optimize=job.spec.optimize,
        keep=stay,
        tiers={host.id: _tier(state, job, host, held) for host in able if host.id not in stay},
        rates={host.id: costs.rate(host, need.cpus, need.memory_bytes, need.gpus) for host in able},
    )
    group = groups.find_group(state, able, job.spec.nodes, wish)
    if group is None:
        return None
    hosts = _by_rank(group, last, job.spec.nodes) if stay else groups.in_line(state, group)
    moved = [(old, rank) for old, rank in last.items() if hosts[rank] != old]
    whys = {old: _why_left(state, job, old, held.get(old), need) for old, _ in moved}
    moves = (f"rank {r} moved from {_name(state, o)} to {_name(state, hosts[r])}: {whys[o]}" for o, r in moved)
    return Choice(hosts, tuple(moves), any(old not in job.avoids for old, _ in moved))


def _order(
    state: State, job: Job, host: Host, rank_of: dict[HostId, int], held: dict[HostId, Allocation]
) -> tuple[int, int, tuple[float, float, int]]:
    """Sort key: who stays, by rank; then by tier; then the best."""
    if host.id in rank_of:
        return (0, rank_of[host.id], (0.0, 0.0, 0))
    return (1, _tier(state, job, host, held), score.preference(host, state.usage[host.id]))


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


def _by_rank(group: tuple[HostId, ...], last: dict[HostId, int], nodes: int) -> tuple[HostId, ...]:
    by_rank = {last[host]: host for host in group if host in last}
    others = (host for host in group if host not in last)
    return tuple(by_rank[rank] if rank in by_rank else next(others) for rank in range(nodes))


def _unable(state: State, host: Host, own: Allocation | None, need: fit.Need) -> str | None:
    """Why the host can't hold a member, as if what it holds for the job already were free; None when it can."""
    usage = state.usage[host.id]
    if own is not None:
        gpus = {gpu: holder for gpu, holder in usage.gpus.items() if holder != own.id}
        usage = Usage(usage.cpus - own.cpus, usage.memory_bytes - own.memory_bytes, gpus)
    return fit.unusable(host) or fit.never(host, need) or fit.not_now(host, usage, need)


def _why_left(state: State, job: Job, old: HostId, own: Allocation | None, need: fit.Need) -> str:
    host = state.hosts.get(old)
    if host is None:
        return "that host was removed"
    if old in job.avoids:
        return "that host failed"
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
    return [state.allocations[a] for a in sorted(state.job_allocations[job.id])]
