"""Which host a node gets, and in which variant: cost, latency, spread, pack; filters; parts of a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain
from coordinator.core.changes import RoundTripSeen
from coordinator.core.events import AllocationStatus, CordonRequested, StopRequested
from coordinator.core.model import Allocation, EndCause, HostFacts, Job, Phase
from coordinator.core.spec import (
    GpuRequest,
    HostFilter,
    JobSpec,
    Optimize,
    Placement,
    Range,
    Resources,
    SpotPolicy,
    Spread,
    Variant,
)
from tests.fakes.world import World, hardware

CPU = Resources()


def gpu(count: int = 1, *names: str, share: tuple[int, int] | None = None) -> Resources:
    return Resources(gpu=GpuRequest(names=names, count=Range(count, count), share=share))


def spec(nodes: int = 1, resources: Resources = CPU, **fields: object) -> JobSpec:
    return JobSpec(argv=("x",), placement=Placement.ANY, nodes=nodes, resources=resources, **fields)  # type: ignore[arg-type]


def where(world: World, job: Job) -> list[str]:
    """The names of the hosts of the job's nodes, by rank."""
    return [world.state.hosts[a.host_id].name for a in world.held(job.id)]


# ---------------------------------------------------------------- optimize


def test_cost_is_the_price_of_what_the_node_holds_of_its_host() -> None:
    world = World()
    world.add_host("small", hardware(cpus=2), HostFacts(price_per_hour=1.0))
    world.add_host("large", hardware(cpus=64), HostFacts(price_per_hour=8.0))
    job = world.submit(spec(3))
    assert where(world, job) == ["large", "large", "large"]


def test_hosts_of_one_price_are_chosen_by_latency_and_then_by_room() -> None:
    world = World()
    far, near = world.add_host("far"), world.add_host("near")
    world.state.apply(RoundTripSeen(far.id, 0.2))
    world.state.apply(RoundTripSeen(near.id, 0.01))
    assert where(world, world.submit(spec(3))) == ["near"] * 3
    world.state.apply(RoundTripSeen(far.id, 0.012))
    # A little nearer is not worth a fuller host.
    assert where(world, world.submit(spec(1))) == ["far"]


def test_latency_goes_before_cost_when_it_is_asked_for() -> None:
    world = World()
    cheap = world.add_host("cheap", facts=HostFacts(price_per_hour=1.0))
    near = world.add_host("near", facts=HostFacts(price_per_hour=9.0))
    world.state.apply(RoundTripSeen(cheap.id, 0.08))
    world.state.apply(RoundTripSeen(near.id, 0.02))
    assert where(world, world.submit(spec())) == ["cheap"]
    assert where(world, world.submit(spec(optimize=Optimize.LATENCY))) == ["near"]


def test_spread_goes_round_the_hosts_though_one_is_cheapest() -> None:
    world = World()
    for name, price in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        world.add_host(name, facts=HostFacts(price_per_hour=price))
    job = world.submit(spec(5, optimize=Optimize.SPREAD))
    assert where(world, job) == ["a", "b", "c", "a", "b"]
    world.end(world.held(job.id)[2].id)
    more = world.submit(spec(2, optimize=Optimize.SPREAD))
    assert where(world, more) == ["a", "b"], "only the job's own nodes count"


def test_spread_over_backends_goes_round_them_whatever_hosts_they_have() -> None:
    world = World()
    for name, backend in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")):
        world.add_host(name, facts=HostFacts(backend=backend))
    job = world.submit(spec(4, optimize=Optimize.SPREAD, spread=Spread.BACKEND))
    assert sorted(where(world, job)) == ["a1", "a2", "b1", "b1"]


def test_a_node_that_spreads_goes_where_one_of_the_job_has_ended() -> None:
    world = World()
    world.add_host("a", hardware(cpus=2))
    world.add_host("b", hardware(cpus=2))
    job = world.submit(spec(6, optimize=Optimize.SPREAD))
    world.start(job.id)
    first = world.held(job.id)[1]
    world.end(first.id)
    assert where(world, job).count("b") == 2


def test_pack_fills_the_fullest_host_first() -> None:
    world = World()
    world.add_host("a", facts=HostFacts(price_per_hour=1.0))
    world.add_host("b", facts=HostFacts(price_per_hour=5.0))
    world.submit(spec(where=HostFilter(hosts=("b",))))
    assert where(world, world.submit(spec(5, optimize=Optimize.PACK))) == ["b", "b", "b", "a", "a"]


def test_a_waiting_job_that_packs_sees_what_others_hold() -> None:
    world = World()
    for name in "ab":
        world.add_host(name, hardware(cpus=4))
    filler = world.submit(spec(2, Resources(cpus=Range(4))))
    job = world.submit(spec(4, optimize=Optimize.PACK))
    world.submit(spec(1, Resources(cpus=Range(2)), where=HostFilter(hosts=("b",)), priority=1))
    for held in world.held(filler.id):
        world.end(held.id)
    assert sorted(where(world, job)) in (["a", "a", "a", "a"], ["a", "a", "b", "b"])


# ---------------------------------------------------------------- filters

FACTS = HostFacts(
    backend="aws",
    region="eu-1",
    instance_type="p5",
    fleet="night",
    labels={"zone": "a"},
    spot=True,
    price_per_hour=8.0,
)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (HostFilter(backends=("gcp", "lambda")), "backend aws, wanted gcp or lambda"),
        (HostFilter(regions=("us-1",)), "region eu-1, wanted us-1"),
        (HostFilter(instance_types=("a2",)), "instance type p5, wanted a2"),
        (HostFilter(fleets=("day",)), "fleet night, wanted day"),
        (HostFilter(hosts=("gpu-*", "big")), "its name is not gpu-* or big"),
        (HostFilter(labels={"zone": "b"}), "label zone=a, wanted b"),
        (HostFilter(spot=SpotPolicy.ON_DEMAND), "a spot host, spot_policy is on-demand"),
        (HostFilter(max_price=1.5), "a node would cost 2 USD an hour there, max_price is 1.5"),
    ],
)
def test_a_filter_says_why_it_refuses_a_host(wanted: HostFilter, words: str) -> None:
    world = World()
    world.add_host("one", facts=FACTS)
    job = world.submit(spec(where=wanted))
    assert not world.held(job.id)
    assert f"one: {words}" in explain.summary(world.state, world.job(job.id))


@pytest.mark.parametrize(
    "wanted",
    [
        HostFilter(backends=("gcp", "aws"), regions=("eu-1",), instance_types=("p5",), fleets=("night",)),
        HostFilter(hosts=("on?",), labels={"zone": "a"}, spot=SpotPolicy.SPOT, max_price=2.0),
    ],
)
def test_a_filter_lets_in_what_it_asks_for(wanted: HostFilter) -> None:
    world = World()
    world.add_host("one", facts=FACTS)
    assert where(world, world.submit(spec(where=wanted))) == ["one"]


def test_a_gang_keeps_to_the_filter_too() -> None:
    world = World()
    for name, backend in (("a", "x"), ("b", "x"), ("c", "y")):
        world.add_host(name, facts=HostFacts(backend=backend))
    job = world.submit(replace(spec(2, where=HostFilter(backends=("x",))), placement=Placement.CLUSTER))
    assert sorted(where(world, job)) == ["a", "b"]
    none = world.submit(replace(spec(2, where=HostFilter(backends=("y",))), placement=Placement.CLUSTER))
    assert not world.held(none.id)


# ---------------------------------------------------------------- parts of a GPU


def test_parts_of_a_gpu_fill_one_before_the_next_and_a_whole_one_stays_apart() -> None:
    world = World()
    world.add_host("one", hardware(cpus=16, gpus=2, prefix="G"))
    thirds = world.submit(spec(4, gpu(share=(1, 3))))
    assert [a.gpus for a in world.held(thirds.id)] == [("G-0",)] * 3 + [("G-1",)]
    half = world.submit(spec(2, gpu(share=(1, 2))))
    assert [a.gpus for a in world.held(half.id)] == [("G-1",)]
    whole = world.submit(spec(1, gpu()))
    assert not world.held(whole.id)
    said = explain.summary(world.state, world.job(half.id))
    assert "needs 50% of a GPU, of the 2 that match at most 17% is free" in said
    for allocation in world.held(thirds.id)[:3]:
        world.end(allocation.id)
    assert [a.gpus for a in world.held(half.id)] == [("G-1",), ("G-0",)]
    world.end(world.held(half.id)[1].id)
    assert [a.gpus for a in world.held(whole.id)] == [("G-0",)]


# ---------------------------------------------------------------- variants

FP8, BF16, SLOW = (
    Variant("fp8", gpu(1, "H100"), precision="fp8", speed=4.0),
    Variant("bf16", gpu(1, "A100"), precision="bf16", speed=2.0),
    Variant("cpu", CPU, speed=0.1),
)


def mixed(*prices: float) -> World:
    world = World()
    kinds = (("h100", 2, "NVIDIA H100 80GB HBM3"), ("a100", 2, "NVIDIA A100-SXM4-80GB"), ("cpu", 0, ""))
    for (name, count, model), price in zip(kinds, prices, strict=True):
        world.add_host(name, hardware(4, count, model, name), HostFacts(price_per_hour=price or None))
    return world


def test_each_node_takes_the_variant_of_the_host_that_it_gets() -> None:
    world = mixed(0.0, 0.0, 0.0)
    plain = tuple(replace(variant, speed=None) for variant in (FP8, BF16, SLOW))
    job = world.submit(spec(8, variants=plain))
    found = {(world.state.hosts[a.host_id].name, a.variant) for a in world.held(job.id)}
    assert found >= {("h100", "fp8"), ("a100", "bf16"), ("cpu", "cpu")}
    assert all(world.node(job.id, a.rank).variant == a.variant for a in world.held(job.id))
    assert {bool(a.gpus) for a in world.held(job.id) if a.variant in ("fp8", "bf16")} == {True}


def test_without_prices_the_faster_hosts_come_first() -> None:
    world = mixed(0.0, 0.0, 0.0)
    job = world.submit(spec(3, variants=(SLOW, BF16, FP8)))
    assert [a.variant for a in world.held(job.id)] == ["fp8", "fp8", "bf16"]


def test_with_prices_the_cheapest_work_comes_first() -> None:
    # Per hour and GPU: 8 / 2 / 4 = 1.0 on the H100, 2 / 2 / 2 = 0.5 on the A100.
    world = mixed(8.0, 2.0, 100.0)
    job = world.submit(spec(3, variants=(FP8, BF16)))
    assert [a.variant for a in world.held(job.id)] == ["bf16", "bf16", "fp8"]


def ran(world: World, allocation: Allocation, seconds: float) -> None:
    """The node ends well after so many seconds."""
    status = AllocationStatus(allocation.id, Phase.ENDED, 0, EndCause.EXIT, started_at=1.0, ended_at=1.0 + seconds)
    world.report(allocation.host_id, status)


def test_what_the_jobs_own_nodes_took_orders_hosts_of_which_nothing_is_said() -> None:
    world = World()
    slow = world.add_host("slow", hardware(4, 1, "Tesla T4", "slow"))
    world.add_host("fast", hardware(4, 1, "NVIDIA H100 80GB HBM3", "fast"))
    job = world.submit(spec(40, gpu()))
    first, second = world.held(job.id)
    assert where(world, job) == ["slow", "fast"]
    world.post(CordonRequested("slow", cordoned=True))
    world.post(CordonRequested("fast", cordoned=True))
    ran(world, first, 100.0)
    ran(world, second, 10.0)
    assert not world.held(job.id)
    world.post(CordonRequested("slow", cordoned=False))
    assert where(world, job) == ["slow"], "slow is better than nothing while much is left"
    ran(world, world.held(job.id)[0], 100.0)
    world.asleep.add(slow.id)
    world.post(CordonRequested("fast", cordoned=False))
    assert sorted(where(world, job)) == ["fast", "slow"]


# ---------------------------------------------------------------- the last nodes


def test_all_kinds_of_hardware_begin_at_once_while_nobody_knows_how_long_a_node_takes() -> None:
    world = mixed(8.0, 2.0, 1.0)
    job = world.submit(spec(6, variants=(FP8, BF16, SLOW)))
    assert sorted(a.variant for a in world.held(job.id)) == ["bf16", "bf16", "cpu", "cpu", "fp8", "fp8"]


def test_a_slow_host_gets_none_of_the_last_nodes_when_the_faster_ones_are_done_sooner() -> None:
    world = World()
    world.add_host("fast", hardware(1, 1, prefix="fast"))
    job = world.submit(spec(5, variants=(FP8, SLOW), where=HostFilter(hosts=("fast", "slow"))))
    ran(world, world.held(job.id)[0], 900.0)
    # One node in 15 minutes on the GPU, in ten hours on CPUs alone: three more are sooner done where the first is.
    world.add_host("slow", hardware(8))
    assert [a.variant for a in world.held(job.id)] == ["fp8"]
    said = explain.summary(world.state, world.job(job.id))
    assert said.startswith("3 nodes wait for the job's faster hosts, which are done with all before slow with one")
    world.end(world.held(job.id)[0].id)
    assert [a.variant for a in world.held(job.id)] == ["fp8"]
    assert len(world.state.pending[job.id]) == 2


def test_slow_hosts_take_nodes_while_many_are_left_and_when_fast_ones_do_not_keep_their_promise() -> None:
    world = World()
    world.add_host("fast", hardware(1, 1, prefix="fast"))
    world.add_host("slow", hardware(3))
    many = world.submit(spec(80, variants=(FP8, SLOW)))
    assert [a.variant for a in world.held(many.id)] == ["fp8", "cpu", "cpu", "cpu"]
    world.post(StopRequested(many.id, "ann"))
    for allocation in world.held(many.id):
        world.obey(allocation)
    world.post(CordonRequested("slow", cordoned=True))
    few = world.submit(spec(4, variants=(FP8, SLOW)))
    ran(world, world.held(few.id)[0], 900.0)
    world.post(CordonRequested("slow", cordoned=False))
    assert [a.variant for a in world.held(few.id)] == ["fp8"]
    world.advance(11 * 3600.0)
    assert [a.variant for a in world.held(few.id)] == ["fp8", "cpu", "cpu"]


def test_offers_tell_the_terms_by_which_the_planner_chooses() -> None:
    world = mixed(8.0, 2.0, 1.0)
    found = explain.offers(world.state, spec(2, variants=(FP8, BF16)))
    assert [(o.host.name, o.variant and o.variant.name) for o in found] == [
        ("a100", "bf16"),
        ("h100", "fp8"),
        ("cpu", None),
    ]
    assert [o.terms and (o.terms.rate, o.terms.hours) for o in found] == [(1.0, 0.5), (4.0, 0.25), None]
    world.submit(spec(2, gpu(1, "A100")))
    full = next(o for o in explain.offers(world.state, spec(1, gpu(2, "A100"))) if o.host.name == "a100")
    assert (full.rejection, full.remedy) == ("needs 2 GPUs, 0 of 2 that match are free", "with 2 GPUs more free")


def test_the_nearest_host_is_the_one_that_the_fewest_filters_refuse_and_each_of_them_is_told() -> None:
    world = mixed(8.0, 2.0, 1.0)
    where = HostFilter(regions=("mars",), max_price=0.5)
    found = explain.offers(world.state, spec(1, gpu(2, "A100"), where=where))
    a100, priced = "region local, wanted mars", "a node would cost 2 USD an hour there, max_price is 0.5"
    assert explain.nearest(found) == f"a100 would fit but for this: {a100}; {priced}"
    assert [offer.host.name for offer in found] == ["a100", "cpu", "h100"]
    world.submit(spec(1, gpu(1, "A100")))
    busy = explain.offers(world.state, spec(1, gpu(2, "A100")))
    assert explain.nearest(busy) == "a100 would fit with 1 GPU more free"
    assert explain.nearest(explain.offers(world.state, spec(1, gpu(1, "H100")))) == ""
