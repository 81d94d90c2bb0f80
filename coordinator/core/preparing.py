"""Preparations that take long, such as fetching an image: users see what is done, and the group waits for it."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import DeadlineSet, NodeUpdated
from coordinator.core.model import Allocation, GangPhase, Job, Node, NodeState
from coordinator.core.placement import gang_deadline
from coordinator.core.spec import Placement
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.words import PREPARING

_BEFORE = "; before: "


def on_progress(turn: Turn, allocation: Allocation, what: str) -> None:
    """A host is at it. The time to prepare counts from here on: the host itself bounds how long this may take."""
    state = turn.state
    job, gang = state.jobs[allocation.job_id], state.gangs.get(allocation.job_id)
    if gang is not None and gang.generation == allocation.attempt and gang.phase is GangPhase.PREPARING:
        turn.record(DeadlineSet(gang_deadline(job), turn.at.mono + state.timing.prepare))
    before = _before(turn, allocation)
    _tell(turn, allocation, f"{PREPARING}{what}{_BEFORE if before else ''}{before}")


def on_prepared(turn: Turn, allocation: Allocation) -> None:
    """It is done: what was said of it is no longer so."""
    _tell(turn, allocation, _before(turn, allocation))


def waiting(state: State, job: Job) -> str:
    """What is done for the first of the job's nodes that are made ready, and why again; empty when nobody has said."""
    # Only these take long; and of a job with thousands of nodes that all run none is looked at.
    slow = job.spec.image or job.spec.python
    if not slow or not state.counts[job.id][NodeState.PLACED]:
        return ""
    in_group = job.spec.placement is Placement.CLUSTER
    for rank, node in state.nodes[job.id].items():
        if node.state is NodeState.PLACED and (words := _of_member(node) if in_group else node.reason):
            return words if job.spec.nodes == 1 else f"node {rank} {words}"
    return ""


def _of_member(node: Node) -> str:
    """Without why it is done again: that is the group's, and the job's reason says it."""
    return node.reason.partition(_BEFORE)[0] if node.reason.startswith(PREPARING) else ""


def _before(turn: Turn, allocation: Allocation) -> str:
    """Why the node is tried again, which its reason says after what is done for it now."""
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is None:
        return ""
    return node.reason.partition(_BEFORE)[2] if node.reason.startswith(PREPARING) else node.reason


def _tell(turn: Turn, allocation: Allocation, reason: str) -> None:
    # A spare is no node.
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is not None and node.attempt == allocation.attempt and node.reason != reason:
        turn.record(NodeUpdated(replace(node, reason=reason)))
