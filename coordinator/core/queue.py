"""What waits to be placed: jobs in *lines*, one for all that stand or fall together, so that ten thousand jobs that
ask for the same are one look.

A line holds the jobs of one class (see ``asks``): those whose nodes go anywhere, or those that want a group of one
size. A job that has a history of its own (copies, or a group to be formed again) stands in a line of its own. In a
line jobs stand by priority and user, and then by age.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.core.asks import Asks
from coordinator.core.ids import JobId
from coordinator.core.model import Job
from coordinator.core.offers import Offers
from coordinator.core.pace import Pace
from coordinator.core.spec import Placement

# The priority of a job, and its user.
Rank = tuple[int, str]


@dataclass(frozen=True, slots=True)
class LineKey:
    """``gang`` is the size of the groups, 0 for nodes that go anywhere; ``alone`` the job that stands by itself."""

    asks: Asks
    gang: int
    alone: JobId | None


@dataclass(slots=True, eq=False)
class Line:
    """Jobs that stand or fall together. ``tried`` is how much of the planner's log had been written when the line was
    last found to have no chance; None: it may have one."""

    key: LineKey
    jobs: dict[Rank, list[tuple[int, JobId]]] = field(default_factory=dict)
    tried: int | None = None
    offers: Offers | None = None

    def ids(self) -> Iterator[JobId]:
        """All its jobs."""
        return (job for jobs in self.jobs.values() for _, job in jobs)

    def after(self, rank: Rank, number: int) -> tuple[int, JobId] | None:
        """The oldest job that is younger than the one with this number."""
        jobs = self.jobs.get(rank, [])
        place = bisect_right(jobs, (number, _LAST))
        return jobs[place] if place < len(jobs) else None


# Sorts after every job id.
_LAST = JobId("\U0010ffff")


def forms_again(job: Job) -> bool:
    """Whether the job is a group that lost a generation and waits for its next."""
    return job.spec.placement is Placement.CLUSTER and job.generation > 0


class Queue:
    """All jobs that wait, each in its line."""

    __slots__ = ("_line_of", "lines")

    def __init__(self) -> None:
        self.lines: dict[LineKey, Line] = {}
        self._line_of: dict[JobId, Line] = {}

    def __contains__(self, job: JobId) -> bool:
        return job in self._line_of

    def __len__(self) -> int:
        return len(self._line_of)

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._line_of)

    def line_of(self, job: JobId) -> Line | None:
        """The line that the job waits in."""
        return self._line_of.get(job)

    def put(self, job: Job, pace: Pace) -> None:
        """The job waits, whose ended nodes had this ``pace``; harmless when it does already."""
        known = self._line_of.get(job.id)
        if known is not None and (known.key.alone is not None) == _alone(job) and known.key.asks.pace == pace:
            return
        if known is not None:
            self.drop(job)
        key = _key(job, pace)
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = Line(key)
        insort(line.jobs.setdefault((job.spec.priority, job.user), []), (job.number, job.id))
        self._line_of[job.id] = line

    def drop(self, job: Job) -> None:
        """The job does not wait; harmless when it did not."""
        line = self._line_of.pop(job.id, None)
        if line is None:
            return
        rank = (job.spec.priority, job.user)
        jobs = line.jobs[rank]
        del jobs[bisect_left(jobs, (job.number, job.id))]
        if not jobs:
            del line.jobs[rank]
        if not line.jobs:
            del self.lines[line.key]

    def retry(self, job: JobId) -> None:
        """Something of the job itself changed: its line may have a chance again, though no host changed."""
        line = self._line_of.get(job)
        if line is not None and line.key.alone is not None:
            line.tried = None


def _alone(job: Job) -> bool:
    return job.spec.redundancy > 1 or forms_again(job)


def _key(job: Job, pace: Pace) -> LineKey:
    gang = 0 if job.spec.placement is Placement.ANY else job.spec.nodes
    return LineKey(Asks.of(job, pace), gang, job.id if _alone(job) else None)
