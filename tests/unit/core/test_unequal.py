"""Gangs whose nodes are not alike: groups with needs of their own, and one variant for all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain
from coordinator.core.desired import desired_of
from coordinator.core.hardware import Hardware
from coordinator.core.model import HostFacts, JobState, NodeState
from coordinator.core.spec import GpuRequest, JobSpec, NodeGroup, Range, Resources, RetryPolicy, StopCriteria, Variant
from tests.fakes.world import World, hardware
from tests.unit.core.test_gangs import host, lose, places, run

SERVER, WORKER = Resources(cpus=Range(2, 2)), Resources(cpus=Range(1, 1), gpu=GpuRequest())


def machine(kind: str, name: str) -> Hardware:
    """``c``: a host with 4 CPUs; ``g``: 2 and a GPU; ``w``: 1 and a GPU."""
    return hardware({"c": 4, "g": 2, "w": 1}[kind], int(kind != "c"), prefix=name)


def a_world(*names: str) -> World:
    """Hosts whose kind is the first letter of their names."""
    world = World()
    for name in names:
        world.add_host(name, machine(name[0], name))
    return world


def spec(servers: int = 1, workers: int = 2, **more: object) -> JobSpec:
    groups = (
        NodeGroup("servers", servers, SERVER, commands=("serve",)),
        NodeGroup("workers", workers, WORKER, commands=("work ${{ groups[0].nodes[0].IP_ADDRESS }}",)),
    )
    return replace(JobSpec(nodes=servers + workers, groups=groups), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "then"),
    [
        ("c1 w1 w2", "c1 w1 w2"),
        ("w1 w2 c1", "c1 w1 w2"),
        # What only it can do is left to the host with a GPU, though it comes first.
        ("g1 c1 w1", "c1 w1 g1"),
        ("g1 g2 c1", "c1 g1 g2"),
        ("g1 w1 w2", "g1 w1 w2"),
        ("w1 w2 w3", ""),
        ("c1 c2 w1", ""),
    ],
)
def test_each_rank_gets_a_host_that_fits_its_group(names: str, then: str) -> None:
    world = a_world(*names.split())
    job = world.submit(spec())
    assert places(world, job.id) == then
    assert [(a.cpus, len(a.gpus)) for a in world.held(job.id)] == ([(2, 0), (1, 1), (1, 1)] if then else [])


def test_a_group_is_formed_as_soon_as_the_host_that_was_missing_joins() -> None:
    world = a_world("w1", "w2", "w3")
    job = world.submit(spec()).id
    assert places(world, job) == ""
    world.add_host("c1", machine("c", "c1"))
    assert places(world, job).split()[0] == "c1"


def test_all_members_of_an_unequal_group_reach_each_other() -> None:
    world = World()
    for name, net in (("c1", "x"), ("w1", "x"), ("w2", "y"), ("w3", "y"), ("c2", "y")):
        world.add_host(name, machine(name[0], name), HostFacts(network=net))
    assert places(world, world.submit(spec()).id) == "c2 w2 w3"


def test_nodes_are_told_their_commands_and_the_addresses_of_the_formed_group() -> None:
    world = a_world("c1", "w1", "w2")
    job = world.submit(spec()).id
    run(world, job)
    orders = [desired_of(world.state, held.id) for held in world.held(job)]
    address = world.state.hosts[host(world, "c1")].peer.addresses[0]
    assert [order and order.program and order.program.commands for order in orders] == [
        ("serve",),
        (f"work {address}",),
        (f"work {address}",),
    ]
    group = world.state.gangs[job].group
    assert group is not None
    assert [(member.slots, member.gpus) for member in group.members] == [(1, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize(("lost", "then"), [("c1", "g1 w1 w2"), ("w1", "c1 g1 w2"), ("w2", "c1 w1 g1")])
def test_a_lost_member_is_replaced_by_one_of_its_group(lost: str, then: str) -> None:
    world = a_world("c1", "w1", "w2", "c2", "g1") if lost != "c1" else a_world("c1", "w1", "w2", "g1")
    job = world.submit(spec(retry=RetryPolicy())).id
    run(world, job)
    assert places(world, job) == "c1 w1 w2"
    lose(world, lost)
    run(world, job)
    assert places(world, job) == then


def test_a_spare_can_take_the_place_that_needs_most() -> None:
    world = a_world("c1", "w1", "w2", "c2", "w3")
    job = world.submit(spec(spares=1)).id
    run(world, job)
    assert places(world, job) == "c1 w1 w2 (w3)"
    lose(world, "w1")
    run(world, job)
    assert places(world, job) == "c1 w3 w2"


def test_explain_names_the_group_whose_hosts_are_missing() -> None:
    world = a_world("w1", "w2", "c1")

    def said(*groups: NodeGroup) -> str:
        wanted = JobSpec(nodes=sum(group.nodes for group in groups), groups=groups, commands=("x",))
        return explain.summary(world.state, world.submit(wanted))

    servers, workers = NodeGroup("servers", 2, SERVER), NodeGroup("workers", 2, WORKER)
    assert said(servers, workers) == (
        "waits for 2 hosts, one for each node of group servers; only c1 fits "
        "(w1: needs 2 CPUs, has 1; w2: needs 2 CPUs, has 1)"
    )
    huge = replace(servers, resources=Resources(cpus=Range(64)))
    assert said(workers, huge) == (
        "no host could ever hold a node of group servers, even when idle: "
        "c1: needs 64 CPUs, has 4; w1, w2: needs 64 CPUs, has 1"
    )
    world.submit(JobSpec(argv=("x",), resources=WORKER))
    assert said(replace(servers, nodes=1), workers) == (
        "waits for 3 hosts of one network to be free at once: w1: needs 1 CPU, 0 of 1 are free"
    )


def test_the_first_node_of_the_first_group_is_the_master() -> None:
    world = a_world("c1", "w1", "w2")
    job = world.submit(spec(stop_criteria=StopCriteria.MASTER_DONE)).id
    run(world, job)
    world.end(world.held(job)[0].id)
    world.start(job)
    assert world.job(job).state is JobState.DONE
    assert [world.node(job, rank).state for rank in range(3)] == [NodeState.DONE, NodeState.STOPPED, NodeState.STOPPED]


# ---------------------------------------------------------------- variants


def of_variants(*variants: Variant, nodes: int = 2) -> JobSpec:
    return JobSpec(commands=("train",), nodes=nodes, variants=variants, retry=RetryPolicy())


def test_all_nodes_of_a_group_run_the_first_variant_that_can_form_it() -> None:
    world = a_world("w1", "c1", "c2")
    wanted = of_variants(Variant("gpu", WORKER, precision="bf16"), Variant("cpu", SERVER))
    job = world.submit(wanted).id
    assert (places(world, job), {a.variant for a in world.held(job)}) == ("c1 c2", {"cpu"})
    run(world, job)
    assert {node.variant for node in world.state.nodes[job].values()} == {"cpu"}
    order = desired_of(world.state, world.held(job)[0].id)
    assert order is not None
    assert order.program is not None
    assert order.program.given["RALLYPOINT_VARIANT"] == "cpu"


@pytest.mark.parametrize(("speeds", "then"), [((None, None), "gpu"), ((2.0, 1.0), "cpu"), ((10.0, 1.0), "gpu")])
def test_stated_speeds_and_prices_say_which_variant_does_more_for_its_price(
    speeds: tuple[float | None, float | None], then: str
) -> None:
    world = World()
    for name, price in (("g1", 8.0), ("g2", 8.0), ("c1", 2.0), ("c2", 2.0)):
        world.add_host(name, machine(name[0], name), HostFacts(price_per_hour=price))
    gpu, cpu = Variant("gpu", WORKER, speed=speeds[0]), Variant("cpu", SERVER, speed=speeds[1])
    job = world.submit(of_variants(gpu, cpu)).id
    assert {a.variant for a in world.held(job)} == {then}


def test_a_group_that_is_formed_again_stays_with_its_variant() -> None:
    world = a_world("w1", "c1", "c2", "c3")
    job = world.submit(of_variants(Variant("gpu", WORKER), Variant("cpu", SERVER))).id
    run(world, job)
    world.add_host("w2", machine("w", "w2"))
    lose(world, "c1")
    run(world, job)
    assert (places(world, job), {a.variant for a in world.held(job)}) == ("c3 c2", {"cpu"})
