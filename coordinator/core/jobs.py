"""Users' requests about jobs."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import absence, explain, nearness, starts, waits
from coordinator.core.changes import JobCreated, JobUpdated
from coordinator.core.ends import finish_job, settle_job
from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import JobSubmitted, StopRequested
from coordinator.core.ids import JobId, job_id
from coordinator.core.model import Job, JobState
from coordinator.core.names import name_for
from coordinator.core.spec import JobSpec
from coordinator.core.state import State
from coordinator.core.stopping import abort_gang, stop_allocation, stop_of
from coordinator.core.turn import Turn


def find_job(state: State, ref: str) -> Job:
    """The job with this id, or the latest with this name. Raises NotFound."""
    found = next((state.jobs[key] for key in (JobId(ref), state.names.get(ref)) if key in state.jobs), None)
    if found is None:
        raise NotFound(f"there is no job {ref!r}; 'coordinator ps --all' lists them")
    return found


def on_submitted(turn: Turn, event: JobSubmitted) -> Job:
    """Accept a job; the same request gives the same job.

    Raises Conflict when the name is taken by a live job, NotFound when it waits for one that is not known, Invalid when
    the job does not go with this cluster's lease.
    """
    state = turn.state
    known = state.requests.get(event.request_id) if event.request_id else None
    if known is not None:
        return state.jobs[known]
    absence.check(state.timing, event.spec)
    spec = with_ids(state, event.spec)
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
        spec=spec,
        submitted_at=turn.at.wall,
        waiting_since=turn.at.served,
        starts_at=starts.next_time(spec, turn.at.wall),
    )
    turn.record(JobCreated(job))
    starts.enter(turn, job)
    if job.spec.near is not None:
        nearness.ask(turn, job.spec.near)
    return job


def with_ids(state: State, spec: JobSpec) -> JobSpec:
    """The spec with the jobs that it waits for named by their ids. Raises NotFound.

    No job can wait for itself, or in a ring: there are only older ones to be named.
    """
    if not spec.after:
        return spec
    named = (replace(dependency, job=find_job(state, dependency.job).id) for dependency in spec.after)
    return replace(spec, after=tuple(dict.fromkeys(named)))


def on_no_capacity(turn: Turn, job: Job) -> None:
    """The time that the job may wait for capacity is over; it goes on if any of it was ever placed."""
    if waits.is_untouched(turn.state, job) and job.id not in turn.state.withheld:
        assert job.spec.retry is not None
        waiting = explain.waiting_for(turn.state, job.spec)
        reason = f"no capacity within {job.spec.retry.duration:g} s: {waiting}"
        finish_job(turn, job, JobState.FAILED, reason, None)


def on_stop_requested(turn: Turn, event: StopRequested) -> Job:
    """Stop a job in whatever state it is, and its series; harmless when it has ended. Raises NotFound."""
    state = turn.state
    job = find_job(state, event.job)
    if job.state.ended:
        return job
    stop = stop_of(job, f"stopped by {event.user}", signal=event.signal, abort=event.abort)
    if job.state is JobState.STOPPING and event.signal and stop.grace:
        raise Conflict(f"job {job.name!r} is stopping already, and was sent its signal; --abort ends it at once")
    if job.state is not JobState.STOPPING:
        turn.record(JobUpdated(replace(job, state=JobState.STOPPING, reason=stop.reason, starts_at=0.0)))
    elif job.starts_at:
        turn.record(JobUpdated(replace(job, starts_at=0.0)))
    gang = state.gangs.get(job.id)
    if gang is not None:
        abort_gang(turn, gang, stop, retry=False)
    for allocation_id in sorted(state.job_allocations[job.id]):
        stop_allocation(turn, state.allocations[allocation_id], stop)
    settle_job(turn, state.jobs[job.id])
    return state.jobs[job.id]
