"""The scheduler: what waits is given to hosts, or there is a reason why not.

``plan`` runs at the end of a turn. A job that could not be placed is looked at again only when a host changed, and
then, for ``any``, only at the changed hosts: a turn costs what changed, not what there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace

from coordinator.core import fit, network, score
from coordinator.core.changes import (
    AllocationReserved,
    DeadlineSet,
    GangUpdated,
    JobUpdated,
    NodeUpdated,
)
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import HostId, allocation_id
from coordinator.core.model import Allocation, Gang, GangPhase, Host, Job, JobState, Node, NodeState, Phase
from coordinator.core.spec import Placement
from coordinator.core.state import State
from coordinator.core.turn import Turn


def plan(turn: Turn) -> None:
    """Place what can be placed, oldest job first."""
    state = turn.state
    if not state.fresh_jobs and not state.changed_hosts:
        return
    fresh, hosts = state.fresh_jobs, state.changed_hosts
    state.fresh_jobs, state.changed_hosts = set(), set()
    for job_id in tuple(state.unfinished):
        job = state.jobs[job_id]
        if not state.pending[job_id] or job.state is JobState.STOPPING:
            continue
        if job.spec.placement is Placement.ANY:
            _place_any(turn, job, state.hosts if job_id in fresh else hosts)
        elif job_id not in state.gangs:
            _place_gang(turn, job)


def gang_deadline(job: Job) -> str:
    """The key of the deadline by which a gang of this job has to be prepared."""
    return f"gang:{job.id}"


def usable_hosts(state: State, need: fit.Need) -> Iterator[Host]:
    """Hosts that may get work now and could hold the node when idle."""
    for host in state.hosts.values():
        if fit.unusable(host) is None and fit.never(host, need) is None:
            yield host


# ---------------------------------------------------------------- any


def _place_any(turn: Turn, job: Job, among: Iterable[HostId]) -> None:
    state, need = turn.state, fit.Need.of(job.spec.resources)
    waiting = len(state.pending[job.id])
    offers: list[tuple[tuple[float, float, int], int, HostId]] = []
    for host_id in among:
        host = state.hosts.get(host_id)
        if host is None or fit.unusable(host) or fit.never(host, need):
            continue
        room = fit.room(host, state.usage[host_id], need, waiting)
        if room:
            offers.append((score.preference(host, state.usage[host_id]), room, host_id))
    heapq.heapify(offers)
    for rank in _take(state, job, sum(room for _, room, _ in offers)):
        _, room, host_id = heapq.heappop(offers)
        node = state.nodes[job.id].get(rank)
        if node is not None and node.host_id == host_id and offers:
            # Tried here before: another host first, if there is one.
            other = heapq.heapreplace(
                offers, (score.preference(state.hosts[host_id], state.usage[host_id]), room, host_id)
            )
            _, room, host_id = other
        host, usage = state.hosts[host_id], state.usage[host_id]
        held = fit.hold(host, usage, need)
        if held is None:
            continue
        _reserve(turn, job, rank, host, held, Phase.RUNNING, node.attempt + 1 if node else 1)
        if room > 1:
            heapq.heappush(offers, (score.preference(host, usage), room - 1, host_id))
    if state.job_allocations[job.id] and state.jobs[job.id].state is JobState.QUEUED:
        turn.record(JobUpdated(replace(state.jobs[job.id], state=JobState.STARTING, reason="")))


def _take(state: State, job: Job, count: int) -> list[int]:
    ranks: list[int] = []
    for rank in state.pending[job.id]:
        if len(ranks) == count:
            break
        ranks.append(rank)
    return ranks


def _reserve(turn: Turn, job: Job, rank: int, host: Host, held: fit.Held, wanted: Phase, attempt: int) -> None:
    allocation = Allocation(
        id=allocation_id(job.id, rank, attempt),
        job_id=job.id,
        rank=rank,
        attempt=attempt,
        host_id=host.id,
        cpus=held.cpus,
        memory_bytes=held.memory_bytes,
        gpus=held.gpus,
        wanted=wanted,
    )
    before = turn.state.nodes[job.id].get(rank)
    turn.record(AllocationReserved(allocation))
    turn.record(
        NodeUpdated(
            Node(
                job_id=job.id,
                rank=rank,
                state=NodeState.PLACED,
                attempt=attempt,
                host_id=host.id,
                gpus=held.gpus,
                host_failures=before.host_failures if before else 0,
            )
        )
    )
    turn.effect(DesiredChanged(host.id, allocation.id))


# ---------------------------------------------------------------- cluster


def group_candidates(state: State, need: fit.Need) -> list[Host]:
    """Hosts with room for one more such node now, best first."""
    hosts = [h for h in usable_hosts(state, need) if fit.not_now(h, state.usage[h.id], need) is None]
    return sorted(hosts, key=lambda host: score.preference(host, state.usage[host.id]))


def _place_gang(turn: Turn, job: Job) -> None:
    state, need = turn.state, fit.Need.of(job.spec.resources)
    candidates = group_candidates(state, need)
    if len(candidates) < job.spec.nodes:
        return
    group = network.find_group(state, candidates, job.spec.nodes)
    if group is None:
        return
    generation = job.generation + 1
    turn.record(JobUpdated(replace(job, state=JobState.STARTING, generation=generation, reason="")))
    turn.record(GangUpdated(Gang(job.id, generation, GangPhase.PREPARING)))
    for rank, host_id in enumerate(group):
        host = state.hosts[host_id]
        held = fit.hold(host, state.usage[host_id], need)
        assert held is not None  # group_candidates just checked
        _reserve(turn, job, rank, host, held, Phase.PREPARED, generation)
    turn.record(DeadlineSet(gang_deadline(job), turn.at.mono + state.timing.prepare))
