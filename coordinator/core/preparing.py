"""Preparations that take long, such as fetching an image: users see what is done, and the group waits for it."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import DeadlineSet, NodeUpdated
from coordinator.core.model import Allocation, GangPhase
from coordinator.core.placement import gang_deadline
from coordinator.core.turn import Turn

_PREFIX = "preparing: "


def on_progress(turn: Turn, allocation: Allocation, what: str) -> None:
    """A host is at it. The time to prepare counts from here on: the host itself bounds how long this may take."""
    state = turn.state
    job, gang = state.jobs[allocation.job_id], state.gangs.get(allocation.job_id)
    if gang is not None and gang.generation == allocation.attempt and gang.phase is GangPhase.PREPARING:
        turn.record(DeadlineSet(gang_deadline(job), turn.at.mono + state.timing.prepare))
    _tell(turn, allocation, f"{_PREFIX}{what}")


def on_prepared(turn: Turn, allocation: Allocation) -> None:
    """It is done: what was said of it is no longer so."""
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is not None and node.reason.startswith(_PREFIX):
        _tell(turn, allocation, "")


def _tell(turn: Turn, allocation: Allocation, reason: str) -> None:
    # A spare is no node.
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is not None and node.attempt == allocation.attempt and node.reason != reason:
        turn.record(NodeUpdated(replace(node, reason=reason)))
