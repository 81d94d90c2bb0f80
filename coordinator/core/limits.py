"""Ending a job by a rule that its user gave it: its budget is spent, its GPUs do nothing."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import JobUpdated
from coordinator.core.ends import settle_job
from coordinator.core.model import Job, JobState
from coordinator.core.stopping import abort_gang, stop_allocation, stop_of
from coordinator.core.turn import Turn


def end_job(turn: Turn, job: Job, reason: str, exit_code: int) -> None:
    """Stop all of a job with the grace that it asks for; it fails with this reason and code."""
    stop = stop_of(job, reason)
    turn.record(JobUpdated(replace(job, state=JobState.STOPPING, reason=reason, exit_code=exit_code)))
    gang = turn.state.gangs.get(job.id)
    if gang is not None:
        abort_gang(turn, gang, stop, retry=False, exit_code=exit_code)
    for allocation_id in sorted(turn.state.job_allocations[job.id]):
        stop_allocation(turn, turn.state.allocations[allocation_id], stop)
    settle_job(turn, turn.state.jobs[job.id])
