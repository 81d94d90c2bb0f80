"""What a job that may not be placed yet waits for: its time, then the ends of other jobs. Says; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum

from coordinator.core.changes import Withheld
from coordinator.core.ids import JobId
from coordinator.core.model import Job, JobState
from coordinator.core.spec import AfterWhen, Dependency, JobSpec
from coordinator.core.state import State

# The states in which a job that has ended is what was waited for. Who stops a job does not make it fail.
_HOLDS = {
    AfterWhen.OK: frozenset({JobState.DONE}),
    AfterWhen.DONE: frozenset({JobState.DONE, JobState.FAILED, JobState.STOPPED}),
    AfterWhen.FAILED: frozenset({JobState.FAILED}),
}
_WORDS = {AfterWhen.OK: "to end well", AfterWhen.DONE: "to end", AfterWhen.FAILED: "to fail"}
# So many jobs are named in one line.
_NAMED = 4


class Standing(Enum):
    """Whether what is waited for has come, may come, or can come no more."""

    HOLDS = "holds"
    OPEN = "open"
    LOST = "lost"


def is_untouched(state: State, job: Job) -> bool:
    """Whether nothing of the job was ever placed: what has begun waits for nothing but hosts."""
    return job.state is JobState.QUEUED and not job.generation and not state.nodes[job.id]


def too_early(job: Job, wall: float) -> bool:
    """Whether the time of the job's schedule is still to come. ``wall``: now, in Unix seconds."""
    return bool(job.starts_at) and job.starts_at > wall


def standing(state: State, dependency: Dependency) -> Standing:
    """How it stands with one job that is waited for."""
    other = _other(state, dependency)
    if other is None:
        return Standing.LOST
    if not other.state.ended:
        return Standing.OPEN
    return Standing.HOLDS if other.state in _HOLDS[dependency.when] else Standing.LOST


def open_ones(state: State, job: Job) -> tuple[Dependency, ...]:
    """The jobs that are waited for and have not ended."""
    return tuple(each for each in job.spec.after if standing(state, each) is Standing.OPEN)


def lost(state: State, job: Job) -> str:
    """Why the job can never begin any more; empty when it can."""
    for dependency in job.spec.after:
        if standing(state, dependency) is Standing.LOST:
            other = _other(state, dependency)
            how = "is not known any more" if other is None else f"ended as {other.state.value}{_why(other)}"
            return f"was to wait for {name(state, dependency)} {_WORDS[dependency.when]}, which {how}"
    return ""


def describe(state: State, job: Job) -> str:
    """What a withheld job waits for, in one line."""
    if state.withheld.get(job.id) is Withheld.TIME:
        return f"waits for its time, {moment(job.starts_at)}"
    return _waits_for(state, open_ones(state, job))


def ahead(state: State, spec: JobSpec) -> str:
    """What a job would wait for before it may be placed if it were submitted now; empty: nothing. Its ``after`` holds
    ids."""
    if spec.schedule:
        return f"waits for its time, by the schedule {spec.schedule!r} in UTC"
    waited = [each for each in spec.after if standing(state, each) is not Standing.HOLDS]
    return _waits_for(state, waited) if waited else ""


def _waits_for(state: State, waited: Sequence[Dependency]) -> str:
    named = [f"{name(state, each)} {_WORDS[each.when]}" for each in waited[:_NAMED]]
    more = f" and for {len(waited) - _NAMED} more" if len(waited) > _NAMED else ""
    return f"waits for {', '.join(named)}{more}"


def name(state: State, dependency: Dependency) -> str:
    """``j-3 (train)``."""
    other = _other(state, dependency)
    return dependency.job if other is None else f"{other.id} ({other.name})"


def moment(unix_seconds: float) -> str:
    """``2026-11-24 02:00 UTC``."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _other(state: State, dependency: Dependency) -> Job | None:
    return state.jobs.get(JobId(dependency.job))


def _why(other: Job) -> str:
    return f": {other.reason}" if other.reason else ""
