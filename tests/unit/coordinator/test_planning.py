"""What users are told of a plan: from the state to the lines on their screen."""

from __future__ import annotations

from coordinator.core.model import HostFacts
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from coordinator.rpc.planning import explanation_to_proto, plan_to_proto
from tests.fakes.world import World, hardware
from tests.unit.core.test_groups import linked

ANY = JobSpec(argv=("x",), placement=Placement.ANY)


def gpus(count: int, *names: str) -> Resources:
    return Resources(gpu=GpuRequest(names=names, count=Range(count, count)))


def fleet() -> World:
    """A rack that is paid for, and two kinds of hosts that are not."""
    world = World()
    world.add_host("rack-1", hardware(16, 4, prefix="r1"), HostFacts(backend="rack", region="eu"))
    world.add_host("cloud-1", hardware(32, 8, prefix="c1"), HostFacts(backend="cloud", price_per_hour=24.0))
    world.add_host("cpu-1", hardware(64, 0, prefix="p1"), HostFacts(backend="cloud", price_per_hour=1.0))
    return world


def test_what_a_job_would_cost_an_hour_and_until_it_is_done() -> None:
    world = fleet()
    wanted = JobSpec(argv=("x",), placement=Placement.ANY, nodes=8, resources=gpus(2), max_duration=7200.0, budget=20.0)
    plan = plan_to_proto(world.state, wanted, "ann")
    assert {offer.host_name: offer.nodes_chosen for offer in plan.offers} == {"rack-1": 2, "cloud-1": 4, "cpu-1": 0}
    assert (plan.nodes_placed, plan.price_per_hour) == (6, 24.0)
    # The two that wait are taken to cost what the others do.
    assert (plan.price_until_done, plan.price_basis) == (64.0, "by max_duration, at most")
    assert list(plan.warnings) == ["its budget of 20.00 USD may be spent before it is done"]
    assert "2 of 8 nodes wait for room" in plan.waiting_for


def test_a_budget_that_can_not_be_reached_is_said_so() -> None:
    world = World()
    world.add_host("owned")
    plan = plan_to_proto(world.state, JobSpec(argv=("x",), budget=5.0), "ann")
    assert list(plan.warnings) == ["no host that fits states a price: the budget of 5.00 USD can't be reached"]
    assert not plan.HasField("price_per_hour")


def test_what_is_free_of_a_host_is_told_and_when_a_job_that_waits_is_expected_to_start() -> None:
    world = fleet()
    world.submit(JobSpec(argv=("x",), name="first", resources=gpus(8), max_duration=3600.0))
    second = world.submit(JobSpec(argv=("x",), name="second", resources=gpus(8)))
    world.advance(600)
    answer = explanation_to_proto(world.state, second)
    (busy,) = [offer for offer in answer.offers if offer.host_name == "cloud-1"]
    assert (busy.gpus_free, busy.cpus_free) == (0, 31)
    assert 2900 < answer.starts_in_seconds < 3100
    assert answer.nearest == "cloud-1 would fit with 8 GPUs more free"
    assert explanation_to_proto(world.state, world.job("j-1")).nearest == ""
    assert not explanation_to_proto(world.state, world.job("j-1")).HasField("starts_in_seconds")


def test_the_plan_of_a_group_says_how_its_members_would_be_linked() -> None:
    world = World()
    for name, speed in (("slow", 1000), ("a", 25_000), ("b", 100_000)):
        linked(world, name, speed)
    plan = plan_to_proto(world.state, JobSpec(argv=("x",), nodes=2), "ann")
    assert {offer.host_name for offer in plan.offers if offer.nodes_chosen} == {"a", "b"}
    assert plan.links == "link: slowest interface 25 Gb/s"
    assert not plan_to_proto(world.state, JobSpec(argv=("x",), nodes=2, placement=Placement.ANY), "ann").links
