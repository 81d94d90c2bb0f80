"""What runs on a host that is not to have it any more goes elsewhere: nobody's failure."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import copies
from coordinator.core.changes import JobUpdated, NodeUpdated
from coordinator.core.model import Allocation, Gang, GangPhase, Job, JobState, Phase
from coordinator.core.regroup import is_kept
from coordinator.core.spares import is_spare, let_go
from coordinator.core.stopping import Stop, abort_gang, stop_allocation, stop_of
from coordinator.core.turn import Turn


def move(turn: Turn, allocation: Allocation, reason: str, *, abort: bool = False) -> None:
    """Have it go from its host, which is not to have it any more, and be placed elsewhere as if it had never been.

    With the grace that its job asks for, or without any (``abort``). Harmless when it is going already, unless it is to
    go faster now.
    """
    job, host = turn.state.jobs[allocation.job_id], turn.state.hosts[allocation.host_id]
    if is_spare(job.spec, allocation) or is_kept(job, allocation):
        let_go(turn, allocation)
        # The gang that keeps it may be formed with another one.
        turn.state.fresh_jobs.add(job.id)
        return
    going = job.state is JobState.STOPPING or allocation.wanted is Phase.STOPPING
    if going and not abort:
        return
    stop = replace(stop_of(job, reason, abort=abort), preempted_by="" if going else host.id)
    gang = turn.state.gangs.get(job.id)
    if going:
        stop_allocation(turn, allocation, stop)
    elif gang is None:
        _hand_over(turn, job, allocation)
        stop_allocation(turn, allocation, stop)
    else:
        _move_gang(turn, job, gang, allocation, stop)


def _hand_over(turn: Turn, job: Job, allocation: Allocation) -> None:
    """Of several copies another one stands for the node from now on."""
    node = turn.state.nodes[job.id][allocation.rank]
    others = [c for c in copies.held(turn.state, job.id, node.rank) if c.id != allocation.id]
    others = [copy for copy in others if copy.wanted is not Phase.STOPPING]
    if node.attempt == allocation.attempt and others:
        turn.record(NodeUpdated(copies.led_by(node, copies.lead(others))))


def _move_gang(turn: Turn, job: Job, gang: Gang, member: Allocation, stop: Stop) -> None:
    if gang.phase in (GangPhase.PREPARING, GangPhase.RUNNING):
        turn.record(JobUpdated(replace(job, preempted=job.preempted + 1)))
    # This member first, for only its place is given up; the others keep theirs for the next generation.
    stop_allocation(turn, member, stop)
    abort_gang(turn, gang, stop_of(job, stop.reason), retry=True)
