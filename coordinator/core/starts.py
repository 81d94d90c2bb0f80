"""When jobs may begin: at their time, after the ends of other jobs, and again and again by a schedule.

What keeps a job back is found anew when the coordinator starts; nothing of it is stored but the time of a schedule.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import cron, waits
from coordinator.core.changes import DeadlineSet, JobCreated, JobUpdated, JobWithheld, Withheld
from coordinator.core.ends import finish_job
from coordinator.core.ids import job_id
from coordinator.core.model import Job, JobState
from coordinator.core.spec import JobSpec, RetryEvent
from coordinator.core.turn import Turn

# The earliest time of a schedule is looked at again so often, in seconds: somebody may set the clock meanwhile.
LOOK_SECONDS = 30.0
_DEADLINE = "starts:"


def next_time(spec: JobSpec, wall: float) -> float:
    """When a job that is accepted now begins by its schedule, in Unix seconds; 0 without one."""
    return cron.next_after(spec.schedule, wall) if spec.schedule else 0.0


def enter(turn: Turn, job: Job) -> None:
    """A job begins to wait: for its time, for other jobs, or only for hosts."""
    state = turn.state
    untouched = waits.is_untouched(state, job)
    if untouched and waits.too_early(job, turn.at.wall):
        turn.record(JobWithheld(job.id, Withheld.TIME))
        _look_again(turn)
    elif untouched and any(waits.standing(state, each) is not waits.Standing.HOLDS for each in job.spec.after):
        # Also when one of them can never come any more: ``follow`` ends the job.
        turn.record(JobWithheld(job.id, Withheld.OTHERS))
    else:
        _watch_capacity(turn, job)


def follow(turn: Turn) -> None:
    """Decide what follows from jobs that ended: the next one of a series, and those that waited for them."""
    state = turn.state
    while state.to_follow:
        jobs, state.to_follow = state.to_follow, set()
        for job in sorted((state.jobs[each] for each in jobs), key=lambda job: job.number):
            if job.state.ended:
                _on_ended(turn, job)
            elif state.withheld.get(job.id) is Withheld.OTHERS:
                _look(turn, job)


def on_time(turn: Turn) -> None:
    """The time of a schedule may have come."""
    state = turn.state
    for waiting, by in tuple(state.withheld.items()):
        job = state.jobs[waiting]
        if by is Withheld.TIME and not waits.too_early(job, turn.at.wall):
            _release(turn, job)
    _look_again(turn)


def _on_ended(turn: Turn, job: Job) -> None:
    state = turn.state
    if job.spec.schedule and job.starts_at:
        _continue_series(turn, job)
    for waiting in sorted(state.dependents.get(job.id, ()), key=lambda each: state.jobs[each].number):
        if state.withheld.get(waiting) is Withheld.OTHERS:
            _look(turn, state.jobs[waiting])


def _look(turn: Turn, job: Job) -> None:
    """Whether a job that waits for others may begin now, or never."""
    lost = waits.lost(turn.state, job)
    if lost:
        finish_job(turn, job, JobState.FAILED, lost, None)
    elif not waits.open_ones(turn.state, job):
        _release(turn, job)


def _release(turn: Turn, job: Job) -> None:
    """From now on the job waits for nothing but hosts, unless its time came before what it waits for, too."""
    turn.record(JobWithheld(job.id, None))
    released = replace(job, waiting_since=turn.at.served)
    turn.record(JobUpdated(released))
    enter(turn, released)


def _continue_series(turn: Turn, job: Job) -> None:
    number = turn.state.last_job_number + 1
    # A clock that was set back must not bring the same time twice.
    after = max(turn.at.wall, job.starts_at)
    following = Job(
        id=job_id(number),
        number=number,
        name=job.name,
        user=job.user,
        request_id="",
        spec=job.spec,
        submitted_at=turn.at.wall,
        waiting_since=turn.at.served,
        starts_at=next_time(job.spec, after),
    )
    turn.record(JobCreated(following))
    enter(turn, following)


def _look_again(turn: Turn) -> None:
    state = turn.state
    times = [state.jobs[each].starts_at for each, by in state.withheld.items() if by is Withheld.TIME]
    if times:
        ahead = min(LOOK_SECONDS, max(0.0, min(times) - turn.at.wall))
        turn.record(DeadlineSet(_DEADLINE, turn.at.mono + ahead))


def _watch_capacity(turn: Turn, job: Job) -> None:
    """Give up a job that its user does not want to wait in the queue for longer than a time."""
    policy = job.spec.retry
    if policy is not None and policy.duration is not None and RetryEvent.NO_CAPACITY in policy.on_events:
        waited = turn.at.served - (job.waiting_since or turn.at.served)
        at = turn.at.mono + max(0.0, policy.duration - waited)
        turn.record(DeadlineSet(f"capacity:{job.id}", at))
