"""Spares: hosts that a gang holds, prepared, beside its members, so that a lost member is replaced without a wait.

A spare is an allocation whose rank is beyond its job's nodes. It has no node, is never started, is in no group, and
nothing that becomes of it disturbs the gang. Since nothing runs on it, it is free the moment it is let go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coordinator.core import fit, needs, network, score
from coordinator.core.changes import AllocationFreed, AllocationReserved, DeadlineSet, JobUpdated, TryDelayed
from coordinator.core.effects import DesiredChanged, ProbesWanted
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, GangPhase, Host, HostState, Job, JobState, Phase
from coordinator.core.reservations import Walk
from coordinator.core.retry import LONGEST_DELAY
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.state import State
from coordinator.core.turn import Turn


def is_spare(spec: JobSpec, allocation: Allocation) -> bool:
    """Whether an allocation of a job with this specification is a spare."""
    return spec.placement is Placement.CLUSTER and allocation.rank >= spec.nodes


def spares_of(state: State, job: Job) -> list[Allocation]:
    """The job's spares, the longest held first."""
    if not job.spec.spares:
        return []
    held = (state.allocations[a] for a in state.job_allocations[job.id])
    return sorted((a for a in held if is_spare(job.spec, a)), key=lambda a: a.rank)


def let_go(turn: Turn, allocation: Allocation) -> None:
    """Free what nothing runs on: a spare, or what is kept of a member that is gone."""
    turn.record(AllocationFreed(allocation.id))
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))


def on_spare_end(turn: Turn, job: Job, allocation: Allocation) -> None:
    """A spare is gone: its host was lost, or could not prepare it. Another is looked for."""
    let_go(turn, allocation)
    host = turn.state.hosts.get(allocation.host_id)
    if host is not None and host.state is HostState.ONLINE:
        # It would fail there again at once: the job's spares rest, under the rank that the first of them would have.
        until = turn.at.mono + LONGEST_DELAY
        turn.record(TryDelayed(job.id, job.spec.nodes, until))
        turn.record(DeadlineSet(f"rest:{job.id}/{job.spec.nodes}", until))


def drop_useless(turn: Turn, job: Job, changed: Iterable[HostId]) -> None:
    """Let go of spares that could not become members: their host takes no new work, or a probe of or to a member
    failed."""
    state, touched = turn.state, set(changed)
    members = _member_hosts(state, job)
    for spare in spares_of(state, job):
        if spare.host_id in touched or not touched.isdisjoint(members):
            failed = (state.reach.failure(*ends) for m in members for ends in ((spare.host_id, m), (m, spare.host_id)))
            host = state.hosts[spare.host_id]
            if host.cordoned or host.drained or any(failure is not None for failure in failed):
                let_go(turn, spare)


def fill(turn: Turn, job: Job, among: Iterable[HostId], walk: Walk) -> None:
    """Hold the best of these hosts as spares, as far as some are missing. Who waits for a host comes first."""
    state, need = turn.state, _need(turn.state, job)
    gang = state.gangs.get(job.id)
    if gang is None or gang.phase not in (GangPhase.PREPARING, GangPhase.RUNNING) or job.state is JobState.STOPPING:
        return
    missing = job.spec.spares - len(spares_of(state, job))
    if missing <= 0 or job.spec.nodes in state.resting.get(job.id, ()):
        return
    held = _held_hosts(state, job)
    for host in network.joinable(state, candidates(state, need, held, among, job.avoids), held):
        # Once more, for each that is taken must be reached by the next, too.
        if missing and not walk.bars(job, need, host) and network.joins(state, host, _held_hosts(state, job)):
            _take(turn, state.jobs[job.id], host)
            missing -= 1


def candidates(
    state: State, need: fit.Need, held: Iterable[HostId], among: Iterable[HostId], avoids: Iterable[HostId] = ()
) -> list[Host]:
    """Hosts with room for a spare, best first, without those that the job holds already."""
    taken, failed = set(held), set(avoids)
    hosts = (state.hosts[h] for h in among if h in state.hosts and h not in taken)
    able = [h for h in hosts if not (fit.unusable(h) or fit.never(h, need) or fit.not_now(h, state.usage[h.id], need))]
    return sorted(able, key=lambda h: (h.id in failed, score.preference(h, state.usage[h.id])))


def _take(turn: Turn, job: Job, host: Host) -> None:
    state = turn.state
    held = fit.hold(host, state.usage[host.id], _need(state, job))
    assert held is not None  # candidates just checked
    members = [a for a in _held(state, job) if not is_spare(job.spec, a)]
    # Counted over the job's whole life, also over restored backups: an id must never mean two allocations.
    rank, attempt = job.spec.nodes + job.spares_taken, state.next_attempt(job.generation - 1)
    spare = fit.allocation(job, rank, attempt, host, held, Phase.PREPARED, turn.at.served)
    spare = replace(spare, variant=_variant(state, job))
    turn.record(JobUpdated(replace(job, spares_taken=job.spares_taken + 1)))
    turn.record(AllocationReserved(spare))
    turn.effect(DesiredChanged(host.id, spare.id))
    for member in members:
        # The spare probes them while it is prepared; those that were prepared before it probe it now.
        if member.observed is not Phase.RESERVED:
            turn.effect(ProbesWanted(member.host_id, (host.id,)))


def _variant(state: State, job: Job) -> str:
    """What the job's group runs."""
    return next((node.variant for node in state.nodes[job.id].values()), "")


def _need(state: State, job: Job) -> fit.Need:
    return needs.need_of(job.spec, job.spec.nodes, _variant(state, job))


def _held(state: State, job: Job) -> list[Allocation]:
    return [state.allocations[a] for a in sorted(state.job_allocations[job.id])]


def _held_hosts(state: State, job: Job) -> list[HostId]:
    return [a.host_id for a in _held(state, job)]


def _member_hosts(state: State, job: Job) -> list[HostId]:
    return [a.host_id for a in _held(state, job) if not is_spare(job.spec, a)]
