"""What would become of a job if it were submitted now: the planner's own turn, on a copy of the state.

So the plan that is shown is the plan that is made: by price and latency, behind who comes first, with variants, copies
and spares. Nothing of it is kept, and nobody is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core import jobs, placement
from coordinator.core.changes import DeadlineSet, HostSeen, JobCreated, JobWithheld, TryDelayed
from coordinator.core.costs import HOUR
from coordinator.core.ids import JobId, job_id
from coordinator.core.model import Allocation, Job
from coordinator.core.names import name_for
from coordinator.core.restore import Records, restore
from coordinator.core.spares import is_spare
from coordinator.core.spec import JobSpec
from coordinator.core.state import State
from coordinator.core.turn import Turn

# Passes over the queue that are tried: each is bounded, and the job may wait behind many others.
MAX_PASSES = 20
# With more waiting jobs than this only those that hold something, and so are in the way, are taken along.
MAX_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Trial:
    """What would be placed at once: of nodes (with redundancy several of one), and as spares."""

    job: Job
    nodes: tuple[Allocation, ...]
    spares: tuple[Allocation, ...]

    @property
    def placed(self) -> int:
        """How many nodes would be placed."""
        return len({allocation.rank for allocation in self.nodes})

    @property
    def price(self) -> float:
        """USD an hour of all that would be held."""
        return sum(allocation.price for allocation in (*self.nodes, *self.spares))

    def until_done(self) -> float | None:
        """USD until all nodes are done, at most, at the price of those that would be placed; None: nobody knows."""
        spec = self.job.spec
        if spec.max_duration is None or not self.placed:
            return None
        return self.price * spec.max_duration / HOUR * spec.nodes / self.placed


def plan(state: State, spec: JobSpec, user: str) -> Trial:
    """Try it. Raises NotFound when the job is to start after one that is not known."""
    job = _job(state, jobs.with_ids(state, spec), user)
    copy = _copy(state)
    copy.apply(JobCreated(job))
    turn = Turn(copy, state.at)
    for _ in range(MAX_PASSES):
        placement.plan(turn)
        if not copy.planning.unfinished or not copy.pending[job.id]:
            break
    held = [copy.allocations[a] for a in sorted(copy.job_allocations[job.id])]
    spares = tuple(a for a in held if is_spare(job.spec, a))
    return Trial(job, tuple(a for a in held if not is_spare(job.spec, a)), spares)


def _job(state: State, spec: JobSpec, user: str) -> Job:
    number, at = state.last_job_number + 1, state.at
    name = spec.name or name_for(number)
    return Job(job_id(number), number, name, user, "", spec, submitted_at=at.wall, waiting_since=at.served)


def _copy(state: State) -> State:
    """The state as the planner sees it, to be changed at will; what it only reads is not copied."""
    taken = _taken_along(state)
    records = Records(
        jobs=[state.jobs[job] for job in taken],
        nodes=[node for job in taken for node in state.nodes[job].values()],
        allocations=state.allocations.values(),
        gangs=[state.gangs[job] for job in taken if job in state.gangs],
        hosts=state.hosts.values(),
        health=state.health.values(),
        last_job_number=state.last_job_number,
        last_host_number=state.last_host_number,
        served=state.served,
        attempt_floor=state.attempt_floor,
    )
    copy = restore(records, state.timing)
    for host in state.hosts.values():
        copy.apply(HostSeen(host))
    for key, at in state.deadlines.items():
        copy.apply(DeadlineSet(key, at))
    copy.reach, copy.distances = state.reach, state.distances
    for job in taken:
        for rank, until in state.resting.get(job, {}).items():
            copy.apply(TryDelayed(job, rank, until))
        if job in state.withheld:
            copy.apply(JobWithheld(job, state.withheld[job]))
    # What was promised to those who wait binds whoever comes.
    copy.book.take_over(state.book, copy.jobs)
    return copy


def _taken_along(state: State) -> list[JobId]:
    if len(state.unfinished) <= MAX_WAITING:
        return list(state.unfinished)
    return [job for job in state.unfinished if state.job_allocations[job] or job in state.book.reservations]
