"""A cluster that works a trace off: the production core, a clock that jumps from event to event, and trivial hosts."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

from coordinator.core import reservations
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    AllocationUpdated,
    Change,
    HostUpdated,
    ReachSeen,
)
from coordinator.core.decide import decide, settle
from coordinator.core.events import AllocationStatus, Event, HostReported, JobSubmitted
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.model import (
    Allocation,
    EndCause,
    Host,
    HostFacts,
    HostState,
    Instant,
    Job,
    PeerEndpoint,
    Phase,
    Reach,
)
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from coordinator.core.state import State, Timing
from coordinator.core.turn import Turn
from tests.sim.traces.workload import GPUS, Work

# What half, a quarter and a quarter of the hosts cost, in USD an hour: on demand, spot, and another provider's.
PRICES = (16.0, 16.0, 9.0, 24.0)
# Served time begins here, so that no moment of a history is 0.
EPOCH = 1_000_000.0
# Hosts never call but to say what became of their work: leases that outlast everything.
_CALM = Timing(suspect=1e12, lease=1e12, prepare=1e12, probe_interval=1e12)


class Policy(Enum):
    """Who is placed when."""

    OURS = "ours"
    # Nobody overtakes: whoever comes later waits until all of the first one's nodes have been placed.
    FIFO = "fifo"
    # Whoever fits is placed, in the order of the queue, and nothing is kept for who does not: plain backfill.
    FIRST_FIT = "first-fit"


@dataclass(slots=True)
class Run:
    """One attempt, as its host saw it, in seconds since the trace began."""

    work: Work
    rank: int
    held: float
    price: float
    freed: float = 0.0


@dataclass(slots=True)
class History:
    """What became of a trace."""

    trace: list[Work]
    hosts: int
    runs: list[Run]
    turns: int = 0


@dataclass
class Cluster:
    """``hosts`` of ``GPUS`` GPUs each in one network, cheap and dear ones."""

    hosts: int
    state: State = field(default_factory=lambda: State(_CALM))
    now: float = 0.0
    turns: int = 0
    _order: Iterator[int] = field(default_factory=count)
    _due: list[tuple[float, int, Work | AllocationId]] = field(default_factory=list)
    _works: dict[JobId, Work] = field(default_factory=dict)
    _runs: dict[AllocationId, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(1, self.hosts + 1):
            self.state.apply(HostUpdated(_host(number)))
        for source in self.state.hosts.values():
            for target in self.state.hosts.values():
                if source.id != target.id:
                    reach = Reach(source.id, target.id, target.peer.addresses[0], target.peer.port, True)
                    self.state.apply(ReachSeen(reach))

    def work_off(self, trace: list[Work], policy: Policy) -> History:
        """Play the trace to its end."""
        with _planning(policy):
            self._play(trace, policy)
        left = [job.id for job in self.state.jobs.values() if not job.state.ended]
        assert not left, f"never worked off: {left}"
        return History(trace, self.hosts, list(self._runs.values()), self.turns)

    def _play(self, trace: list[Work], policy: Policy) -> None:
        self._due = [(work.at, next(self._order), work) for work in trace]
        heapq.heapify(self._due)
        waiting: list[Work] = []
        last: Job | None = None
        while self._due or waiting:
            if self._due:
                self.now, _, what = heapq.heappop(self._due)
                if isinstance(what, Work):
                    waiting.append(what)
                else:
                    self._end(what)
            while waiting and not (policy is Policy.FIFO and last is not None and self.state.pending[last.id]):
                last = self._submit(waiting.pop(0))

    def _submit(self, work: Work) -> Job:
        spec = JobSpec(
            name=f"w{work.number}",
            argv=("x",),
            nodes=work.nodes,
            placement=Placement.CLUSTER if work.gang else Placement.ANY,
            resources=Resources(cpus=Range(4 * work.gpus), gpu=GpuRequest(count=Range(work.gpus, work.gpus))),
            max_duration=work.stated,
        )
        # Known before the turn: its nodes are placed in it.
        self._works[JobId(f"j-{self.state.last_job_number + 1}")] = work
        job: Job = self._turn(JobSubmitted(spec, work.user, ""))
        return job

    def _end(self, allocation_id: AllocationId) -> None:
        allocation = self.state.allocations.get(allocation_id)
        if allocation is not None:
            cause = EndCause.STOPPED if allocation.wanted is Phase.STOPPING else EndCause.EXIT
            self._report(allocation, Phase.ENDED, cause)

    def _report(self, allocation: Allocation, phase: Phase, cause: EndCause | None = None) -> None:
        wall = EPOCH + self.now
        code = 0 if cause is EndCause.EXIT else None
        began = self._runs[allocation.id].held + EPOCH
        status = AllocationStatus(allocation.id, phase, code, cause, started_at=began, ended_at=wall, master_port=1)
        self._turn(HostReported(allocation.host_id, self.state.hosts[allocation.host_id].epoch, (status,), ()))

    def _turn(self, event: Event) -> object:
        """One turn; then the hosts do what they were told."""
        moment = EPOCH + self.now
        turn = Turn(self.state, Instant(moment, moment, moment))
        answer = decide(turn, event)
        settle(turn)
        self.turns += 1
        for change in turn.changes:
            self._follow(change)
        return answer

    def _follow(self, change: Change) -> None:
        if isinstance(change, AllocationReserved):
            held = change.allocation
            self._runs[held.id] = Run(self._works[held.job_id], held.rank, self.now, held.price)
            self._obey(held)
        elif isinstance(change, AllocationUpdated):
            told = change.allocation
            if told.wanted is Phase.RUNNING and told.observed is Phase.PREPARED:
                self._obey(told)
            elif told.wanted is Phase.STOPPING and told.observed is not Phase.ENDED:
                self._due_in(told.stop_grace, told.id)
        elif isinstance(change, AllocationFreed):
            self._runs[change.id].freed = self.now

    def _obey(self, allocation: Allocation) -> None:
        if allocation.wanted is Phase.PREPARED:
            self._report(allocation, Phase.PREPARED)
        elif allocation.wanted is Phase.RUNNING:
            self._due_in(self._works[allocation.job_id].takes, allocation.id)
            self._report(allocation, Phase.RUNNING)

    def _due_in(self, seconds: float, what: AllocationId) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), what))


@contextmanager
def _planning(policy: Policy) -> Iterator[None]:
    """Without reservations, but for our own policy."""
    heads = reservations.MAX_HEADS
    reservations.MAX_HEADS = heads if policy is Policy.OURS else 0
    try:
        yield
    finally:
        reservations.MAX_HEADS = heads


def _host(number: int) -> Host:
    gpus = tuple(
        Gpu(f"GPU-{number}-{i}", i, "NVIDIA A100-SXM4-80GB", memory_bytes=80 << 30, compute_capability=(8, 0))
        for i in range(GPUS)
    )
    hardware = Hardware(hostname=f"host{number}", arch="x86_64", cpus=64, memory_bytes=512 << 30, gpus=gpus)
    return Host(
        id=HostId(f"h-{number}"),
        name=f"host{number}",
        facts=HostFacts(price_per_hour=PRICES[number % len(PRICES)]),
        joined_at=EPOCH,
        hardware=hardware,
        peer=PeerEndpoint((f"10.0.{number // 250}.{number % 250 + 1}",), 7000),
        state=HostState.ONLINE,
        epoch=1,
    )
