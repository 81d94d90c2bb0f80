"""A user has an ended job tried again: what is done stays done, what is not begins anew with its next attempt."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import nearness, starts
from coordinator.core.changes import JobUpdated, NodeUpdated
from coordinator.core.errors import Conflict
from coordinator.core.events import RetryRequested
from coordinator.core.jobs import find_job
from coordinator.core.model import Job, JobState, Node, NodeState
from coordinator.core.spec import Placement
from coordinator.core.turn import Turn


def on_retry_requested(turn: Turn, event: RetryRequested) -> Job:
    """Queue an ended job again, with the attempts and the output that it had.

    Nodes that never started still wait to. Raises NotFound, and Conflict when there is nothing to be tried again, or a
    live job has its name.
    """
    state = turn.state
    job = find_job(state, event.job)
    if not job.state.ended:
        raise Conflict(f"job {job.name!r} is {job.state.value}; only an ended job can be tried again; wait, or stop it")
    holder = state.jobs[state.names[job.name]]
    if not holder.state.ended:
        raise Conflict(f"a job named {job.name!r} has not ended yet ({holder.id}); stop it first")
    nodes = _chosen(turn, job, event.failed)
    if not nodes and (event.failed or not state.pending[job.id]):
        raise Conflict(f"job {job.name!r} has no node that {'failed' if event.failed else 'is not done'}")
    reason = f"tried again by {event.user}" + (f"; before: {job.reason}" if job.reason else "")
    for node in nodes:
        turn.record(NodeUpdated(_afresh(node)))
    again = replace(
        job,
        state=JobState.QUEUED,
        reason=reason,
        exit_code=None,
        ended_at=0.0,
        host_failures=0,
        errors=0,
        failing_since=0.0,
        avoids=(),
        waiting_since=turn.at.served,
        retried_from=job.generation,
        preempted=0,
    )
    turn.record(JobUpdated(again))
    starts.enter(turn, again)
    if again.spec.near is not None:
        nearness.ask(turn, again.spec.near)
    return again


def _chosen(turn: Turn, job: Job, failed: bool) -> list[Node]:
    """The nodes that begin anew: of a group that is not done, all of them."""
    nodes = turn.state.nodes[job.id]
    found = [n for n in nodes.values() if n.state is NodeState.FAILED or not (failed or n.state is NodeState.DONE)]
    if found and job.spec.placement is Placement.CLUSTER:
        return list(nodes.values())
    return found


def _afresh(node: Node) -> Node:
    """The node with fresh budgets. Where it failed it is remembered: the next attempt had better be elsewhere."""
    return replace(
        node,
        state=NodeState.PENDING,
        host_failures=0,
        errors=0,
        failing_since=0.0,
        copies_failed=0,
        retried_from=node.last_attempt,
        preempted=0,
    )
