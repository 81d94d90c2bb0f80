"""Days of a small world: every attempt takes as long as its job is going to, and time goes from event to event."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from coordinator.core.ids import AllocationId, JobId
from coordinator.core.model import Allocation, EndCause, Job, Phase
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from coordinator.core.state import State, Timing
from tests.fakes.world import World, hardware

# Hosts never call here: leases that outlast everything.
CALM = Timing(suspect=1e9, lease=1e9, prepare=1e9, probe_interval=1e9)


def spec(
    cpus: int,
    most: float | None = None,
    *,
    nodes: int = 1,
    gang: bool = False,
    gpus: int = 0,
    priority: int = 0,
    preemptible: bool = False,
) -> JobSpec:
    """A job whose nodes end at once when they are told to, and run for ``most`` seconds at most."""
    return JobSpec(
        argv=("x",),
        nodes=nodes,
        placement=Placement.CLUSTER if gang else Placement.ANY,
        resources=Resources(cpus=Range(cpus), gpu=GpuRequest(count=Range(gpus, gpus)) if gpus else None),
        max_duration=most,
        stop_duration=0.0,
        priority=priority,
        preemptible=preemptible,
    )


@dataclass
class Days:
    """A world in which every attempt takes as long as its job is going to, and time goes from event to event."""

    world: World = field(default_factory=lambda: World(State(CALM)))
    takes: dict[JobId, float] = field(default_factory=dict)
    began: dict[AllocationId, float] = field(default_factory=dict)
    stopped: dict[AllocationId, float] = field(default_factory=dict)

    def hosts(self, *cpus: int, gpus: int = 0) -> None:
        """Join hosts with so many CPUs, and GPUs, each."""
        for number, count in enumerate(cpus):
            self.world.add_host(f"host{number}", hardware(count, gpus, prefix=f"host{number}"))

    def submit(self, wanted: JobSpec, takes: float) -> JobId:
        """Submit a job whose nodes will take so many seconds each."""
        job: Job = self.world.submit(wanted)
        self.takes[job.id] = takes
        self._begin()
        return job.id

    def until(self, moment: float) -> None:
        """End whatever ends by then, in order."""
        while True:
            ends = [(self._end_of(a), a.id) for a in self.world.held() if a.id in self.began]
            due, ending = min(ends, default=(math.inf, None))
            if ending is None or due > moment:
                break
            self.world.now = due
            if self.world.state.allocations[ending].wanted is Phase.STOPPING:
                self.world.end(ending, None, EndCause.STOPPED)
            else:
                self.world.end(ending)
            self._begin()
        self.world.now = max(self.world.now, moment)

    def _end_of(self, allocation: Allocation) -> float:
        """What is told to stop takes all of its grace."""
        if allocation.observed is Phase.ENDED:
            return math.inf  # It is kept for the next generation.
        if allocation.wanted is Phase.STOPPING:
            return self.stopped.setdefault(allocation.id, self.world.now) + allocation.stop_grace
        return self.began[allocation.id] + self.takes[JobId(allocation.job_id)]

    def _begin(self) -> None:
        for allocation in self.world.held():
            if allocation.wanted is Phase.STOPPING:
                self._end_of(allocation)
        while waiting := [a for a in self.world.held() if _to_do(a)]:
            for allocation in waiting:
                self.began.setdefault(allocation.id, self.world.now)
                if allocation.id in self.world.state.allocations:
                    self.world.obey(self.world.state.allocations[allocation.id])

    def started(self, job: JobId) -> float | None:
        """When the job's first nodes were held; None: not yet."""
        return min((began for a, began in self.began.items() if a.startswith(f"{job}.")), default=None)

    def start_of(self, job: JobId) -> float:
        """The moment that the job's reservation promises."""
        return self.world.state.book.reservations[job].start.at


def _to_do(allocation: Allocation) -> bool:
    """Whether its host was told something that it has not reported yet, but for a stop."""
    if allocation.wanted is Phase.PREPARED:
        return allocation.observed is Phase.RESERVED
    return allocation.wanted is Phase.RUNNING and allocation.observed is not Phase.RUNNING
