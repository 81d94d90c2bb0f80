"""Which hosts make a group, and in which order: held against trying out everything, on graphs small enough for that."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import explain, groups, network, sessions
from coordinator.core.changes import HostUpdated, ReachSeen
from coordinator.core.desired import desired_of
from coordinator.core.effects import ProbesWanted
from coordinator.core.groups import Wish, find_group, in_line
from coordinator.core.hardware import Interface, RdmaPort
from coordinator.core.ids import HostId, host_id
from coordinator.core.model import Host, HostFacts, HostState, Instant, PeerEndpoint, Reach
from coordinator.core.spec import GpuRequest, JobSpec, Optimize, Range, Resources
from coordinator.core.state import State
from coordinator.core.turn import Turn
from tests.fakes.world import World, hardware

Pair = tuple[int, int]


def a_state(hosts: int, links: dict[Pair, frozenset[int]], named: tuple[str | None, ...] = ()) -> State:
    """``links``: for each directed pair of hosts (from 0 on) at which of two addresses one reaches the other."""
    state = State()
    for number in range(hosts):
        host = Host(
            host_id(number + 1),
            f"n{number}",
            HostFacts(network=named[number] if named else None),
            0.0,
            hardware=hardware(1, prefix=f"n{number}"),
            peer=PeerEndpoint((address(number, 0), address(number, 1)), 7000),
            state=HostState.ONLINE,
        )
        state.apply(HostUpdated(host))
    for (source, target), at in links.items():
        for which in (0, 1):
            ends = host_id(source + 1), host_id(target + 1)
            state.apply(ReachSeen(Reach(*ends, address(target, which), 7000, which in at, "no")))
    return state


def address(number: int, which: int) -> str:
    return f"10.{which}.0.{number}"


def forms(state: State, members: tuple[Host, ...]) -> bool:
    """Whether these can be a group, by what the probes of each pair say."""
    ids = [host.id for host in members]
    if len({host.facts.network for host in members} - {None}) > 1:
        return False
    seen = {target: [state.reach.addresses(source, target) for source in ids if source != target] for target in ids}
    return all(frozenset.intersection(*at) for at in seen.values())


def grown(state: State, hosts: list[Host], size: int) -> bool:
    """Whether taking one host after the other that goes with all before leads to ``size``, from whichever seed."""
    for seed in hosts:
        members = [seed]
        for host in hosts:
            if host not in members and len(members) < size and forms(state, (*members, host)):
                members.append(host)
        if len(members) == size:
            return True
    return False


@st.composite
def graphs(draw: st.DrawFn) -> tuple[State, int]:
    hosts = draw(st.integers(2, 7))
    mostly = st.sampled_from([frozenset({0, 1})] * 6 + [frozenset({0}), frozenset({1}), frozenset[int]()])
    links = {pair: draw(mostly) for pair in permutations(range(hosts), 2)}
    named = tuple(draw(st.sampled_from([None, None, "x", "y"])) for _ in range(hosts))
    return a_state(hosts, links, named), draw(st.integers(2, hosts))


@given(graphs(), st.randoms(use_true_random=False))
def test_what_is_found_is_a_group_and_is_found_where_plain_growing_finds_one(
    drawn: tuple[State, int], random: object
) -> None:
    state, size = drawn
    hosts = list(state.hosts.values())
    random.shuffle(hosts)  # type: ignore[attr-defined]
    found = find_group(state, hosts, size)
    if found is not None:
        assert len(set(found)) == size
        assert forms(state, tuple(state.hosts[host] for host in found))
    else:
        assert not grown(state, hosts, size)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    prices=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    size=st.integers(1, 5),
)
def test_of_all_networks_the_cheapest_group_is_taken(sizes: list[int], prices: list[int], size: int) -> None:
    member = [number for number, count in enumerate(sizes) for _ in range(count)]
    links = {(a, b): frozenset({0}) for a, b in permutations(range(len(member)), 2) if member[a] == member[b]}
    state = a_state(len(member), links)
    rates = {host_id(number + 1): float(prices[number]) for number in range(len(member))}
    hosts = sorted(state.hosts.values(), key=lambda host: rates[host.id])
    found = find_group(state, hosts, size, Wish(rates=rates))
    possible = [group for group in combinations(hosts, size) if size == 1 or forms(state, group)]
    costs = [sum(rates[host.id] for host in group) for group in possible]
    assert (None if found is None else sum(rates[host] for host in found)) == min(costs, default=None)


def test_as_many_as_can_be_kept_are_kept() -> None:
    links = {pair: frozenset({0}) for pair in permutations(range(5), 2) if 0 not in pair}
    state = a_state(5, links)
    hosts = list(state.hosts.values())
    keep = frozenset(host.id for host in hosts[:3])
    assert find_group(state, hosts, 3, Wish(keep=keep)) == ("h-2", "h-3", "h-4")


# ---------------------------------------------------------------- links


def linked(world: World, name: str, speed: int = 0, rdma: str = "", price: float = 0.0, rate: float = 100.0) -> None:
    """A host with an interface of ``speed`` Mb/s, and an RDMA port of this link layer."""
    ports = (RdmaPort("mlx5_0", 1, "ACTIVE", rdma, rate),) if rdma else ()
    at = f"10.0.0.{len(world.state.hosts) + 1}"
    machine = replace(
        hardware(1, prefix=name), interfaces=(Interface("eth0", (f"{at}/24",), speed or None),), rdma=ports
    )
    world.add_host(name, machine, HostFacts(price_per_hour=price))


def chosen(world: World, nodes: int, optimize: Optimize = Optimize.COST) -> str:
    job = world.submit(JobSpec(argv=("x",), nodes=nodes, optimize=optimize))
    return " ".join(world.state.hosts[a.host_id].name for a in world.held(job.id))


def test_at_the_same_price_the_better_links_win() -> None:
    world = World()
    linked(world, "slow", 1000)
    linked(world, "a", 10_000)
    linked(world, "roce", 5000, "Ethernet", rate=100.0)
    linked(world, "b", 25_000)
    linked(world, "ib1", 10_000, "InfiniBand", rate=100.0)
    linked(world, "ib2", 10_000, "InfiniBand", rate=100.0)
    assert chosen(world, 2) == "ib1 ib2", "the same link layer on all members"
    assert chosen(world, 2) == "a b", "one without RDMA: the slowest interface counts"
    assert chosen(world, 2) == "slow roce"


def test_cost_goes_before_links_and_latency_does_not() -> None:
    world = World()
    for name, speed, price in (("cheap1", 1000, 1.0), ("cheap2", 1000, 1.0), ("fast1", 100_000, 3.0)):
        linked(world, name, speed, price=price)
    linked(world, "fast2", 100_000, price=3.0)
    assert chosen(world, 2) == "cheap1 cheap2"
    world = World()
    for name, speed, price in (("cheap1", 1000, 1.0), ("cheap2", 1000, 1.0), ("fast1", 100_000, 3.0)):
        linked(world, name, speed, price=price)
    linked(world, "fast2", 100_000, price=3.0)
    assert chosen(world, 2, Optimize.LATENCY) == "fast1 fast2"


def nvlinked(world: World, name: str, links: int | None, speed: int = 10_000) -> None:
    """A host with two GPUs that have so many NVLinks each, and an interface of ``speed`` Mb/s."""
    machine = hardware(gpus=2, prefix=name)
    cards = tuple(replace(gpu, nvlinks=links) for gpu in machine.gpus)
    at = f"10.0.0.{len(world.state.hosts) + 1}/24"
    world.add_host(name, replace(machine, gpus=cards, interfaces=(Interface("eth0", (at,), speed),)))


def test_where_all_else_is_equal_gpus_that_are_linked_inside_their_hosts_are_preferred() -> None:
    world = World()
    for name, links in (("pcie1", None), ("nv1", 18), ("pcie2", 0), ("nv2", 12)):
        nvlinked(world, name, links)
    both = replace(JobSpec(argv=("x",), nodes=2), resources=Resources(gpu=GpuRequest(count=Range(2, 2))))
    job = world.submit(both)
    assert [world.state.hosts[a.host_id].name for a in world.held(job.id)] == ["nv1", "nv2"]
    assert network.describe_group(world.state, [a.host_id for a in world.held(job.id)]).endswith("NVLink inside hosts")
    # What is between the hosts counts before that: there groups lose more.
    world = World()
    for name, links, speed in (("nv1", 18, 1000), ("pcie1", 0, 10_000), ("nv2", 18, 1000), ("pcie2", 0, 10_000)):
        nvlinked(world, name, links, speed)
    assert chosen(world, 2) == "pcie1 pcie2"


def spaced(world: World, racks: str) -> None:
    """Hosts a, b, … in ``racks``: near to those in the same one, far from all others."""
    for at in range(len(racks)):
        linked(world, chr(ord("a") + at))
    for one, other in permutations(world.state.hosts.values(), 2):
        near = racks[int(one.id[2:]) - 1] == racks[int(other.id[2:]) - 1]
        seconds = 0.0002 if near else 0.004
        probe = Reach(one.id, other.id, other.peer.addresses[0], other.peer.port, True, "", seconds)
        world.report(one.id, probes=(probe,))


def test_members_that_are_near_each_other_are_taken() -> None:
    world = World()
    spaced(world, "xyxyxy")
    assert chosen(world, 3) == "a c e"
    assert chosen(world, 3) == "b d f"


def test_neighbours_in_rank_are_near_each_other() -> None:
    world = World()
    spaced(world, "xyzyxz")
    assert chosen(world, 6) == "a e b d c f"


def test_a_group_says_how_its_members_are_linked() -> None:
    world = World()
    for name in "ab":
        linked(world, name, 100_000, "InfiniBand", rate=400.0)
    linked(world, "c", 25_000)
    first, second, third = world.state.hosts
    for one, other in permutations(world.state.hosts.values(), 2):
        probe = Reach(one.id, other.id, other.peer.addresses[0], other.peer.port, True, "", 0.0003)
        world.report(one.id, probes=(probe,))
    pair = "link: InfiniBand 400 Gb/s, slowest interface 100 Gb/s, farthest pair 0.3 ms"
    assert network.describe_group(world.state, [first, second]) == pair
    three = "link: slowest interface 25 Gb/s, farthest pair 0.3 ms"
    assert network.describe_group(world.state, [first, second, third]) == three
    assert network.describe_group(world.state, [first]) == ""
    assert network.describe_group(a_state(2, {}), [HostId("h-1"), HostId("h-2")]) == ""
    job = world.submit(JobSpec(argv=("x",), nodes=2))
    world.start(job.id)
    assert explain.summary(world.state, world.job(job.id)) == f"running on a, b; {pair}"


@pytest.mark.parametrize(("layers", "ports"), [("InfiniBand InfiniBand", "=mlx5_0:1"), ("InfiniBand Ethernet", None)])
def test_nccl_is_told_the_rdma_ports_where_all_members_have_some(layers: str, ports: str | None) -> None:
    world = World()
    for name, layer in zip("ab", layers.split(), strict=True):
        linked(world, name, rdma=layer)
    job = world.submit(JobSpec(argv=("x",), nodes=2, env={"A": "1"}))
    world.start(job.id)
    orders = [desired_of(world.state, held.id) for held in world.held(job.id)]
    programs = [order.program for order in orders if order is not None]
    assert [program and program.given.get("NCCL_IB_HCA") for program in programs] == [ports, ports]
    assert all(program is None or (program.argv, program.env) == (("x",), {"A": "1"}) for program in programs)


@given(graphs())
def test_a_line_has_everybody_once_and_begins_with_the_first(drawn: tuple[State, int]) -> None:
    state, _ = drawn
    hosts = tuple(state.hosts)
    line = in_line(state, hosts)
    assert line[0] == hosts[0]
    assert sorted(line) == sorted(hosts)


def test_in_a_cluster_of_many_all_are_probed_in_turn() -> None:
    state = a_state(600, {})
    host = state.hosts[HostId("h-300")]
    probed: set[HostId] = set()
    for number in range(3):
        turn = Turn(state, Instant(number * state.timing.probe_interval + 1.0, 0.0, 0.0))
        sessions.order_probes(turn, host)
        targets = [effect.targets for effect in turn.effects if isinstance(effect, ProbesWanted)]
        assert [len(found) for found in targets] == [sessions.MAX_PROBE_TARGETS]
        probed.update(*targets)
    assert probed == set(state.hosts) - {host.id}


def test_in_order_takes_the_first_that_go_together_whatever_their_links() -> None:
    world = World()
    for name, speed in (("a", 1000), ("b", 1000), ("c", 100_000), ("d", 100_000)):
        linked(world, name, speed)
    assert find_group(world.state, list(world.state.hosts.values()), 2, groups.IN_ORDER) == ("h-1", "h-2")
