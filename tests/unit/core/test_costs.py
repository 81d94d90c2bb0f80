"""What nodes cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.costs import rate
from coordinator.core.model import Host, HostFacts
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from tests.fakes.world import World, hardware

GB = 1 << 30


def priced(price: float | None = 8.0, cpus: int = 16, gpus: int = 8) -> Host:
    """A host with 16 GB of memory."""
    return World().add_host("one", hardware(cpus, gpus), HostFacts(price_per_hour=price))


@pytest.mark.parametrize(
    ("cpus", "memory", "gpus", "share", "usd"),
    [
        (4, 1 * GB, 0, 1.0, 2.0),  # a quarter of the CPUs
        (1, 12 * GB, 0, 1.0, 6.0),  # three quarters of the memory
        (4, 1 * GB, 4, 1.0, 4.0),  # half of the GPUs
        (1, 0, 1, 0.5, 0.5),  # half of one GPU
        (2, 0, 1, 0.5, 1.0),  # the CPUs are more than that
        (16, 17 * GB, 8, 1.0, 8.0),  # all, and never more
    ],
)
def test_a_node_costs_the_largest_part_that_it_holds_of_its_host(
    cpus: int, memory: int, gpus: int, share: float, usd: float
) -> None:
    assert rate(priced(), cpus, memory, gpus, share) == pytest.approx(usd)


@pytest.mark.parametrize("price", [None, 0.0])
def test_a_host_without_a_price_costs_nothing(price: float | None) -> None:
    assert rate(priced(price), 16, 0, 8) == 0.0


def test_what_no_node_could_pay_for_alone_is_paid_by_who_holds_it() -> None:
    host = priced(8.0, cpus=4, gpus=0)
    assert sum(rate(host, 1, 0, 0) for _ in range(4)) == pytest.approx(8.0)


def test_an_allocation_keeps_the_price_and_the_moment_of_its_reservation() -> None:
    world = World()
    host = world.add_host("one", hardware(16, gpus=8), HostFacts(price_per_hour=8.0))
    gpu = GpuRequest(count=Range(2, 2))
    job = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, resources=Resources(gpu=gpu)))
    at = world.now
    world.advance(30)
    world.state.hosts[host.id] = replace(host, facts=HostFacts(price_per_hour=99.0))
    world.open(host.id)
    (held,) = world.held(job.id)
    assert (held.price, held.share, held.held_since) == (pytest.approx(2.0), 1.0, at)


def test_members_and_spares_of_a_gang_have_their_prices() -> None:
    world = World()
    for name in ("one", "two", "three"):
        world.add_host(name, hardware(4), HostFacts(price_per_hour=4.0))
    job = world.submit(JobSpec(argv=("x",), nodes=2, spares=1))
    assert [(held.price, held.held_since) for held in world.held(job.id)] == [(1.0, world.now)] * 3
