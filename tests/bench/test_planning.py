"""How long a planning turn takes: the core without I/O, on fleets of hosts with eight GPUs each."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence

import pytest

from coordinator.core.changes import HostUpdated
from coordinator.core.decide import decide, settle
from coordinator.core.events import AllocationStatus, Event, HostReported, JobSubmitted
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.ids import host_id
from coordinator.core.model import EndCause, Host, HostFacts, HostState, Instant, Phase
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from coordinator.core.state import State
from coordinator.core.turn import Turn
from tests.bench.results import Figure, Results, median, percentile

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

GPU = Resources(gpu=GpuRequest())
PENDING = 10_000
MODEL = "NVIDIA H100 80GB HBM3"


class Fleet:
    """A coordinator's state with hosts of a few prices, and a clock."""

    def __init__(self, hosts: int) -> None:
        self.state = State()
        self.now = 1000.0
        for number in range(1, hosts + 1):
            cards = tuple(Gpu(f"G{number}-{n}", n, MODEL, memory_bytes=80 << 30) for n in range(8))
            machine = Hardware(arch="x86_64", cpus=128, memory_bytes=1 << 40, gpus=cards)
            facts = HostFacts(price_per_hour=20.0 + number % 7)
            host = Host(host_id(number), f"n{number}", facts, 0.0, hardware=machine, state=HostState.ONLINE)
            self.state.apply(HostUpdated(host))

    def turn(self, *events: Event) -> float:
        """One turn; milliseconds that its planning took, of processor time: it waits for nothing."""
        self.now += 0.01
        turn = Turn(self.state, Instant(self.now, self.now, self.now))
        for event in events:
            decide(turn, event)
        began = time.process_time()
        settle(turn)
        return (time.process_time() - began) * 1000

    def turns(self, *events: Event) -> Iterator[float]:
        """This one, and those that follow because there is more to place."""
        yield self.turn(*events)
        while self.state.planning.unfinished:
            yield self.turn()

    def submit(self, nodes: int, number: int = 0, resources: Resources = GPU) -> JobSubmitted:
        """A new job of one of three users."""
        spec = JobSpec(argv=("x",), nodes=nodes, placement=Placement.ANY, resources=resources)
        return JobSubmitted(spec, ("ann", "bob", "eve")[number % 3], "")

    def full(self) -> Fleet:
        """With every GPU held."""
        gc.collect()
        for _ in self.turns(self.submit(8 * len(self.state.hosts))):
            pass
        return self

    def end_one(self) -> HostReported:
        """The oldest node ends well."""
        oldest = next(iter(self.state.allocations.values()))
        return HostReported(oldest.host_id, 0, (AllocationStatus(oldest.id, Phase.ENDED, 0, EndCause.EXIT),))


def report(results: Results, what: str, times: Sequence[float], most: float | None) -> None:
    """The median against its target, and the rest beside it."""
    note = f"{len(times)} turns, p99 {percentile(times, 0.99):.3g} ms, worst {max(times):.3g} ms"
    results.add(Figure(f"{what}: planning turn, p50", median(times), "ms", most, note=note))


@pytest.mark.parametrize(("hosts", "most"), [(1000, 20.0), (10_000, 150.0)])
def test_one_large_job_fills_an_idle_fleet(results: Results, hosts: int, most: float) -> None:
    fleet = Fleet(hosts)
    gc.collect()
    times = list(fleet.turns(fleet.submit(PENDING)))
    assert len(fleet.state.allocations) == min(PENDING, 8 * hosts)
    report(results, f"{PENDING:,} nodes of one job fill {hosts:,} idle hosts", times, most)
    # It looks at every host.
    results.add(Figure(f"the first of these turns ({hosts:,} hosts)", times[0], "ms", 150.0))


@pytest.mark.parametrize(("hosts", "most"), [(1000, 20.0), (10_000, 150.0)])
@pytest.mark.parametrize("classes", [1, 1000])
def test_one_node_ends_where_many_jobs_wait(results: Results, hosts: int, most: float, classes: int) -> None:
    fleet = Fleet(hosts).full()
    kinds = [Resources(memory_bytes=Range((n + 1) << 20), gpu=GpuRequest()) for n in range(classes)]
    for _ in fleet.turns(*(fleet.submit(1, n, kinds[n % classes]) for n in range(PENDING))):
        pass
    times = [took for _ in range(200) for took in fleet.turns(fleet.end_one())]
    assert len(fleet.state.queue) == PENDING - 200
    kind = "that ask the same" if classes == 1 else f"of {classes:,} kinds"
    what = f"one node ends on {hosts:,} full hosts, {PENDING:,} jobs {kind} wait"
    # Each kind is looked at: there is no target for so many.
    report(results, what, times, most if classes == 1 else None)


def test_a_new_kind_of_job_looks_at_every_host(results: Results) -> None:
    fleet = Fleet(10_000).full()
    times = [fleet.turn(fleet.submit(1, 0, Resources(cpus=Range(n + 1), gpu=GpuRequest()))) for n in range(20)]
    report(results, "a job of a new kind on 10,000 full hosts", times, 150.0)


def test_nodes_are_cheaper_by_the_dozen(results: Results) -> None:
    costs = []
    for batch in (1, 10, 100, 400):
        fleet = Fleet(1000)
        times = []
        for number in range(max(3, 400 // batch)):
            times.append(sum(fleet.turns(fleet.submit(batch, number))))
        costs.append(median(times) / batch * 1000)
        results.add(Figure(f"planning of one node, {batch} at a time (1,000 hosts)", costs[-1], "µs"))
    assert costs[0] > costs[1]
    assert costs[0] > costs[-1]
