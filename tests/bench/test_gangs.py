"""How long a planning turn takes that forms a large gang, or finds that none can be formed: the core, without I/O."""

from __future__ import annotations

import gc
import random
import time

import pytest

from coordinator.core.changes import HostUpdated
from coordinator.core.decide import decide, settle
from coordinator.core.events import JobSubmitted
from coordinator.core.ids import host_id
from coordinator.core.model import Host, HostFacts, HostState, Instant, PeerEndpoint, Reach
from coordinator.core.spec import GpuRequest, JobSpec, Range, Resources
from coordinator.core.state import State
from coordinator.core.turn import Turn
from tests.bench.results import Figure, Results, median
from tests.fakes.world import hardware

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS = 5


def cluster(hosts: int, networks: int, broken: float) -> State:
    """Hosts with 8 GPUs each at a few prices, all probed within their network; ``broken`` of the links fail."""
    state, dice = State(), random.Random(1)
    for number in range(hosts):
        facts = HostFacts(price_per_hour=float(dice.randrange(1, 5)))
        peer = PeerEndpoint((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",), 7000)
        machine = hardware(64, 8, prefix=f"n{number}")
        host = Host(host_id(number + 1), f"n{number}", facts, 0.0, hardware=machine, peer=peer, state=HostState.ONLINE)
        state.apply(HostUpdated(host))
    known = list(state.hosts.values())
    for at, source in enumerate(known):
        for target in known[at % networks :: networks]:
            if source is not target:
                reached, seconds = dice.random() >= broken, 0.0001 * (1 + dice.random())
                state.reach.record(Reach(source.id, target.id, target.peer.addresses[0], 7000, reached, "", seconds))
    return state


def turn(state: State, nodes: int) -> tuple[float, int]:
    """One turn with one new job: milliseconds, and how many allocations it made."""
    spec = JobSpec(argv=("x",), nodes=nodes, resources=Resources(gpu=GpuRequest(count=Range(8, 8))))
    gc.collect()
    began = time.perf_counter()
    turn = Turn(state, Instant(1.0, 1.0, 1.0))
    job = decide(turn, JobSubmitted(spec, "ann", ""))
    settle(turn)
    return (time.perf_counter() - began) * 1000, len(state.job_allocations[job.id])


@pytest.mark.parametrize(
    ("hosts", "networks", "broken", "nodes", "formed", "most"),
    [
        (1000, 1, 0.0, 512, True, 50),
        (1000, 1, 0.001, 400, True, 50),
        (1000, 4, 0.0, 256, False, None),
        (2000, 4, 0.0, 256, True, None),
    ],
)
def test_a_large_gang(
    results: Results, hosts: int, networks: int, broken: float, nodes: int, formed: bool, most: float | None
) -> None:
    times = []
    for _ in range(ROUNDS if formed else 1):
        state = cluster(hosts, networks, broken)
        took, made = turn(state, nodes)
        assert made == (nodes if formed else 0)
        times.append(took)
    where = f"{hosts:,} hosts, {networks} network{'s' if networks > 1 else ''}"
    links = f", {broken:.1%} of links broken" if broken else ""
    what = "planned" if formed else "found impossible"
    results.add(Figure(f"gang of {nodes} over {where}{links}: {what} in one turn", median(times), "ms", most))
