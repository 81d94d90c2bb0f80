"""Users' requests about jobs."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import JobCreated, JobUpdated
from coordinator.core.ends import settle_job
from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import JobSubmitted, StopRequested
from coordinator.core.ids import JobId, job_id
from coordinator.core.model import Job, JobState
from coordinator.core.names import name_for
from coordinator.core.state import State
from coordinator.core.stopping import DEFAULT_STOP_GRACE, abort_gang, stop_allocation
from coordinator.core.turn import Turn


def find_job(state: State, ref: str) -> Job:
    """The job with this id, or the latest with this name. Raises NotFound."""
    found = next((state.jobs[key] for key in (JobId(ref), state.names.get(ref)) if key in state.jobs), None)
    if found is None:
        raise NotFound(f"there is no job {ref!r}; 'coordinator ps --all' lists them")
    return found


def on_submitted(turn: Turn, event: JobSubmitted) -> Job:
    """Accept a job; the same request gives the same job. Raises Conflict when the name is taken by a live job."""
    state = turn.state
    known = state.requests.get(event.request_id) if event.request_id else None
    if known is not None:
        return state.jobs[known]
    number = state.last_job_number + 1
    name = event.spec.name or name_for(number)
    taken = state.names.get(name)
    if taken is not None and not state.jobs[taken].state.ended:
        raise Conflict(f"a job named {name!r} has not ended yet ({taken}); stop it, or choose another name")
    job = Job(
        id=job_id(number),
        number=number,
        name=name,
        user=event.user,
        request_id=event.request_id,
        spec=event.spec,
        submitted_at=turn.at.wall,
    )
    turn.record(JobCreated(job))
    return job


def on_stop_requested(turn: Turn, event: StopRequested) -> Job:
    """Stop a job in whatever state it is; harmless when it has ended. Raises NotFound."""
    state = turn.state
    job = find_job(state, event.job)
    if job.state.ended:
        return job
    reason = f"stopped by {event.user}"
    if job.state is not JobState.STOPPING:
        turn.record(JobUpdated(replace(job, state=JobState.STOPPING, reason=reason)))
    gang = state.gangs.get(job.id)
    if gang is not None:
        abort_gang(turn, gang, reason, retry=False)
    grace = DEFAULT_STOP_GRACE if job.spec.stop_duration is None else job.spec.stop_duration
    for allocation_id in sorted(state.job_allocations[job.id]):
        allocation = state.allocations[allocation_id]
        stop_allocation(turn, allocation, reason, 0.0 if event.abort else grace, event.signal)
    settle_job(turn, state.jobs[job.id])
    return state.jobs[job.id]
