"""Changes of jobs, their nodes and their gangs: what is pending, ready and queued follows from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.core import lifecycle
from coordinator.core.apply.allocations import count_copies
from coordinator.core.changes import (
    GangDissolved,
    GangUpdated,
    JobCreated,
    JobForgotten,
    JobUpdated,
    JobWithheld,
    MeasuringUpdated,
    NodeUpdated,
    TryDelayed,
)
from coordinator.core.costs import Meter
from coordinator.core.ids import JobId
from coordinator.core.model import GangPhase, Job, JobState, Node, NodeState
from coordinator.core.pace import Means
from coordinator.core.ranks import RankSet
from coordinator.core.spec import Placement

if TYPE_CHECKING:
    from coordinator.core.state import State


def _job_created(state: State, change: JobCreated) -> None:
    job = change.job
    state.jobs[job.id] = job
    state.nodes[job.id] = {}
    state.pending[job.id] = RankSet(0, job.spec.nodes)
    state.ready[job.id] = RankSet(0, job.spec.nodes)
    state.job_allocations[job.id] = set()
    state.meters[job.id] = Meter()
    if job.spec.redundancy > 1:
        state.short[job.id] = RankSet()
    state.counts[job.id] = dict.fromkeys(NodeState, 0)
    state.counts[job.id][NodeState.PENDING] = job.spec.nodes
    if job.request_id:
        state.requests[job.request_id] = job.id
    known = state.names.get(job.name)
    if known is None or not job.state.ended or state.jobs[known].state.ended:
        # An older one that a user has tried again keeps its name before newer ones that ended.
        state.names[job.name] = job.id
    state.last_job_number = max(state.last_job_number, job.number)
    if not job.state.ended:
        _begin(state, job)


def _begin(state: State, job: Job) -> None:
    state.unfinished[job.id] = None
    state.fresh_jobs.add(job.id)
    if job.spec.near is not None:
        state.near.setdefault(job.spec.near, set()).add(job.id)
    if job.spec.spares:
        state.spared[job.id] = None
    for dependency in job.spec.after:
        state.dependents.setdefault(JobId(dependency.job), set()).add(job.id)
    state.requeue(job.id)


def load_node(state: State, node: Node) -> None:
    """Take a stored node in, which may be in any state and did not get there from PENDING in one step."""
    state.nodes[node.job_id][node.rank] = node
    if node.state is not NodeState.PENDING:
        counts = state.counts[node.job_id]
        counts[NodeState.PENDING] -= 1
        counts[node.state] += 1
        state.pending[node.job_id].discard(node.rank)
        state.ready[node.job_id].discard(node.rank)
        state.requeue(node.job_id)


def _paced(state: State, node: Node) -> bool:
    """Take note of how long a node took that is done; whether that tells anything new."""
    job = state.jobs[node.job_id]
    if job.spec.placement is Placement.CLUSTER or job.spec.nodes == 1 or not 0.0 < node.started_at < node.ended_at:
        return False
    host = None if node.host_id is None else state.hosts.get(node.host_id)
    gpus = () if host is None or host.hardware is None else host.hardware.gpus
    model = next((gpu.name for gpu in gpus if gpu.uuid in node.gpus), "")
    means = state.paces.setdefault(job.id, Means())
    return means.add(node.variant, model, node.ended_at - node.started_at) and job.id in state.queue


def _job_updated(state: State, change: JobUpdated) -> None:
    job, old = change.job, state.jobs[change.job.id]
    lifecycle.check_job(old.state, job.state)
    state.jobs[job.id] = job
    state.touched[job.id] = state.version
    if old.state.ended and not job.state.ended:
        state.names[job.name] = job.id
        # What rested when the job ended rests no more.
        state.ready[job.id] = state.pending[job.id].copy()
        _begin(state, job)
    if job.state.ended and not old.state.ended:
        _end(state, job)
    state.requeue(job.id)
    if job.state.ended or job.state is JobState.STOPPING:
        for host in state.book.forget(job.id):
            state.host_changed(host)


def _end(state: State, job: Job) -> None:
    state.unfinished.pop(job.id, None)
    state.spared.pop(job.id, None)
    state.fresh_jobs.discard(job.id)
    state.resting.pop(job.id, None)
    state.withheld.pop(job.id, None)
    state.paces.pop(job.id, None)
    state.planning.steered.pop(job.id, None)
    state.chains.pace.pop(job.id, None)
    _near_no_more(state, job)
    state.to_follow.add(job.id)
    for dependency in job.spec.after:
        waiting = state.dependents.get(JobId(dependency.job), set())
        waiting.discard(job.id)
        if not waiting:
            state.dependents.pop(JobId(dependency.job), None)


def _near_no_more(state: State, job: Job) -> None:
    near = job.spec.near
    if near is not None and near in state.near:
        state.near[near].discard(job.id)
        if not state.near[near]:
            del state.near[near]


def _job_withheld(state: State, change: JobWithheld) -> None:
    if change.by is None:
        state.withheld.pop(change.job_id, None)
        state.fresh_jobs.add(change.job_id)
    else:
        state.withheld[change.job_id] = change.by
        state.to_follow.add(change.job_id)
    state.requeue(change.job_id)


def _job_forgotten(state: State, change: JobForgotten) -> None:
    job = state.jobs.pop(change.id)
    state.to_follow.discard(job.id)
    for index in (
        state.nodes,
        state.pending,
        state.ready,
        state.job_allocations,
        state.meters,
        state.counts,
        state.touched,
        state.short,
    ):
        index.pop(job.id, None)
    state.requests.pop(job.request_id, None)
    if state.names.get(job.name) == job.id:
        del state.names[job.name]


def _node_updated(state: State, change: NodeUpdated) -> None:
    node = change.node
    nodes, counts = state.nodes[node.job_id], state.counts[node.job_id]
    old = nodes.get(node.rank)
    old_state = old.state if old is not None else NodeState.PENDING
    lifecycle.check_node(old_state, node.state)
    nodes[node.rank] = node
    state.touched[node.job_id] = state.version
    counts[old_state] -= 1
    counts[node.state] += 1
    if node.state is NodeState.PENDING:
        state.pending[node.job_id].add(node.rank)
        state.fresh_jobs.add(node.job_id)
        if node.rank not in state.resting.get(node.job_id, ()):
            state.ready[node.job_id].add(node.rank)
    elif old_state is NodeState.PENDING:
        state.pending[node.job_id].discard(node.rank)
        state.ready[node.job_id].discard(node.rank)
    state.chains.time(node)
    count_copies(state, node.job_id, node.rank)
    paced = node.state is NodeState.DONE and _paced(state, node)
    limited = state.jobs[node.job_id].spec.max_running is not None
    if paced or limited or NodeState.PENDING in (old_state, node.state):
        state.requeue(node.job_id)


def _gang_updated(state: State, change: GangUpdated) -> None:
    gang = change.gang
    old = state.gangs.get(gang.job_id)
    if old is not None:
        lifecycle.check_gang(old.phase, gang.phase)
    state.gangs[gang.job_id] = gang
    if gang.phase is not GangPhase.PREPARING:
        state.measuring.pop(gang.job_id, None)
    state.requeue(gang.job_id)


def _gang_dissolved(state: State, change: GangDissolved) -> None:
    del state.gangs[change.job_id]
    state.measuring.pop(change.job_id, None)
    state.requeue(change.job_id)


def _measuring_updated(state: State, change: MeasuringUpdated) -> None:
    state.measuring[change.measuring.job_id] = change.measuring
    state.touched[change.measuring.job_id] = state.version


def _try_delayed(state: State, change: TryDelayed) -> None:
    resting = state.resting.setdefault(change.job_id, {})
    if change.until is not None:
        resting[change.rank] = change.until
        if change.rank is not None:
            state.ready[change.job_id].discard(change.rank)
        state.requeue(change.job_id)
        return
    resting.pop(change.rank, None)
    if not resting:
        del state.resting[change.job_id]
    if change.rank is not None and change.rank in state.pending[change.job_id]:
        state.ready[change.job_id].add(change.rank)
    if change.job_id in state.unfinished:
        state.fresh_jobs.add(change.job_id)
        state.requeue(change.job_id)


HANDLERS: dict[type, Callable[[State, Any], None]] = {
    JobCreated: _job_created,
    JobUpdated: _job_updated,
    JobWithheld: _job_withheld,
    JobForgotten: _job_forgotten,
    NodeUpdated: _node_updated,
    GangUpdated: _gang_updated,
    GangDissolved: _gang_dissolved,
    MeasuringUpdated: _measuring_updated,
    TryDelayed: _try_delayed,
}
