"""Stopping allocations and gangs. Nothing here waits: what was told to stop is freed when its host says it is gone."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import AllocationUpdated, DeadlineSet, GangUpdated, NodeUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.model import Allocation, Gang, GangPhase, NodeState, Phase
from coordinator.core.placement import gang_deadline
from coordinator.core.turn import Turn

# Seconds between the stop signal and the kill when the user asked for no other.
DEFAULT_STOP_GRACE = 10.0
# The same for the members of a gang that lost one: they can do no more useful work, and hold up the next generation.
GANG_STOP_GRACE = 3.0


def stop_allocation(turn: Turn, allocation: Allocation, reason: str, grace: float, signal: str = "") -> None:
    """Tell the host to end it: the signal, ``grace`` seconds, then the kill. Harmless when it is stopping already,
    but a shorter grace wins, so that an abort hurries up a graceful stop."""
    if allocation.wanted is Phase.STOPPING and grace >= allocation.stop_grace:
        return
    reason = allocation.stop_reason or reason
    turn.record(
        AllocationUpdated(
            replace(allocation, wanted=Phase.STOPPING, stop_reason=reason, stop_grace=grace, stop_signal=signal)
        )
    )
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is not None and node.attempt == allocation.attempt and node.state in (NodeState.PLACED, NodeState.RUNNING):
        turn.record(NodeUpdated(replace(node, state=NodeState.STOPPING, reason=reason)))
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))


def abort_gang(turn: Turn, gang: Gang, reason: str, *, retry: bool, exit_code: int | None = None) -> None:
    """End a whole generation. ``retry``: the job goes back to the queue when the last member is gone, else it ends
    with ``exit_code``. The first reason stands; a later one never turns an end into a retry."""
    state = turn.state
    if gang.phase is GangPhase.STOPPING:
        if gang.retry and not retry:
            turn.record(GangUpdated(replace(gang, retry=False, reason=reason, exit_code=exit_code)))
    else:
        turn.record(DeadlineSet(gang_deadline(state.jobs[gang.job_id]), None))
        turn.record(
            GangUpdated(replace(gang, phase=GangPhase.STOPPING, reason=reason, retry=retry, exit_code=exit_code))
        )
    grace = state.jobs[gang.job_id].spec.stop_duration
    for allocation_id in sorted(state.job_allocations[gang.job_id]):
        allocation = state.allocations[allocation_id]
        stop_allocation(turn, allocation, reason, GANG_STOP_GRACE if grace is None else grace)
