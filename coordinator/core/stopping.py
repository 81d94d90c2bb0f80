"""Stopping allocations and gangs. Nothing here waits: what was told to stop is freed when its host says it is gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core.changes import AllocationUpdated, DeadlineSet, GangUpdated, NodeUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.expected import DEFAULT_STOP_GRACE
from coordinator.core.model import Allocation, Gang, GangPhase, Job, NodeState, Phase
from coordinator.core.placement import gang_deadline
from coordinator.core.preflight import preflight_deadline
from coordinator.core.regroup import dissolve, is_kept
from coordinator.core.spares import is_spare, let_go
from coordinator.core.turn import Turn

# The same for the members of a gang that lost one: they can do no more useful work, and hold up the next generation.
GANG_STOP_GRACE = 3.0


@dataclass(frozen=True, slots=True)
class Stop:
    """How to end something: the signal (empty: the job's own), ``grace`` seconds, then the kill.

    ``preempted_by``: the job that takes its place, or the host that is drained, so that it is tried again as if it had
    never been.
    """

    reason: str
    grace: float
    signal: str = ""
    preempted_by: str = ""


def stop_of(job: Job, reason: str, *, signal: str = "", abort: bool = False) -> Stop:
    """How a user, or the job's own rules, end it: with the grace that it asks for, or at once."""
    grace = DEFAULT_STOP_GRACE if job.spec.stop_duration is None else job.spec.stop_duration
    return Stop(reason, 0.0 if abort or signal == "KILL" else grace, signal)


def stop_allocation(turn: Turn, allocation: Allocation, stop: Stop) -> None:
    """Tell the host to end it. Harmless when it is stopping already, but a shorter grace wins, so that an abort
    hurries up a graceful stop. What nothing runs on, a gang's spare or what is kept for its next generation, is free at
    once."""
    job = turn.state.jobs[allocation.job_id]
    if is_spare(job.spec, allocation) or is_kept(job, allocation):
        let_go(turn, allocation)
        return
    if allocation.wanted is Phase.STOPPING and stop.grace >= allocation.stop_grace:
        return
    reason = allocation.stop_reason or stop.reason
    stopping = replace(
        allocation,
        wanted=Phase.STOPPING,
        stop_reason=reason,
        stop_grace=stop.grace,
        stop_signal=stop.signal,
        preempted_by=allocation.preempted_by or stop.preempted_by,
    )
    turn.record(AllocationUpdated(stopping))
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    if node is not None and node.attempt == allocation.attempt and node.state in (NodeState.PLACED, NodeState.RUNNING):
        turn.record(NodeUpdated(replace(node, state=NodeState.STOPPING, reason=reason)))
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))


def lose_gang(turn: Turn, gang: Gang, reason: str, *, retry: bool, exit_code: int | None = None) -> None:
    """A member failed, or the rendezvous did: end the whole generation, quickly unless the job asks for time."""
    grace = turn.state.jobs[gang.job_id].spec.stop_duration
    abort_gang(turn, gang, Stop(reason, GANG_STOP_GRACE if grace is None else grace), retry=retry, exit_code=exit_code)


def abort_gang(turn: Turn, gang: Gang, stop: Stop, *, retry: bool, exit_code: int | None = None) -> None:
    """End a whole generation. ``retry``: the next one is formed when the last member is gone, with the spares; else the
    job ends with ``exit_code``. The first reason stands; a later one never turns an end into a retry."""
    state, reason = turn.state, stop.reason
    job = state.jobs[gang.job_id]
    if gang.phase is GangPhase.REFORMING:
        if not retry:
            dissolve(turn, job)
        return
    if gang.phase is GangPhase.STOPPING:
        if gang.retry and not retry:
            turn.record(GangUpdated(replace(gang, retry=False, reason=reason, exit_code=exit_code)))
    else:
        turn.record(DeadlineSet(gang_deadline(job), None))
        if job.spec.preflight is not None:
            turn.record(DeadlineSet(preflight_deadline(job), None))
        turn.record(
            GangUpdated(replace(gang, phase=GangPhase.STOPPING, reason=reason, retry=retry, exit_code=exit_code))
        )
    for allocation_id in sorted(state.job_allocations[gang.job_id]):
        allocation = state.allocations[allocation_id]
        if not retry or not (is_spare(job.spec, allocation) or is_kept(job, allocation)):
            stop_allocation(turn, allocation, stop)
