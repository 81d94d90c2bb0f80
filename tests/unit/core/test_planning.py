"""What the planner promises, whatever it keeps between turns: the plan of one who remembers nothing and looks at every
job and host each time; nothing held twice; the best offers used; fair shares; and the same again the next time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import costs, fit, needs, reservations, rounds
from coordinator.core.changes import AllocationReserved
from coordinator.core.decide import decide, settle
from coordinator.core.errors import Conflict
from coordinator.core.events import CordonRequested, Event, HostReported, ReleaseRequested, StopRequested, Ticked
from coordinator.core.evidence import Evidence, Sign
from coordinator.core.health_book import of_host
from coordinator.core.invariants import check_invariants
from coordinator.core.model import Allocation, Host, HostFacts, Instant
from coordinator.core.spec import GpuRequest, HostFilter, JobSpec, Optimize, Placement, Range, Resources, Variant
from coordinator.core.turn import Turn
from tests.fakes.world import World, hardware
from tests.unit.core.naive import Naive, reordered

# Histories are made from a seed: most of what is drawn one by one is too tame to bring two classes onto one host.
SEEDS = st.integers(0, 1 << 32)
MODELS = ("NVIDIA H100 80GB HBM3", "Tesla T4")


class Checked(World):
    """A world in which every turn's plan is looked at: ``plans`` has what was made in each, in order."""

    def __init__(self, reorder: bool = False) -> None:
        super().__init__()
        self.plans: list[list[tuple[str, str, str]]] = []
        self.reorder = reorder
        self.naive = True

    def post(self, event: Event) -> Any:
        """One turn, or more where there is much to place."""
        turn = Turn(self.state, Instant(self.now, self.now, self.now))
        answer = decide(turn, event)
        if self.reorder:
            reordered(self.state)
        expected = Naive(self.state, self.now).plan() if self.naive else []
        made: list[Allocation] = []
        while True:
            settle(turn)
            made += [change.allocation for change in turn.changes if isinstance(change, AllocationReserved)]
            check_invariants(self.state)
            self.effects.extend(turn.effects)
            if not self.state.planning.unfinished:
                break
            turn = Turn(self.state, Instant(self.now, self.now, self.now))
        plan = [(str(a.id), str(a.host_id), a.variant) for a in made]
        if self.naive:
            assert plan == expected
        self.plans.append(plan)
        self._check(made)
        return answer

    def _check(self, made: list[Allocation]) -> None:
        for host in self.state.hosts.values():
            if host.hardware is not None:
                usage = self.state.usage[host.id]
                assert usage.cpus <= host.hardware.cpus
                assert usage.memory_bytes <= host.hardware.memory_bytes
                assert usage.gpu_count <= len(host.hardware.gpus) + 1e-9
                assert set(usage.gpus) <= {gpu.uuid for gpu in host.hardware.gpus}
        for allocation in made:
            self._check_best(allocation)

    def _check_best(self, allocation: Allocation) -> None:
        """What has room even after the turn would not have cost less."""
        spec = self.state.jobs[allocation.job_id].spec
        if spec.optimize is not Optimize.COST or spec.variants:
            return
        need = needs.leading(spec).need
        paid = self._rate(self.state.hosts[allocation.host_id], need)
        for host in self.state.hosts.values():
            if not (fit.unusable(host) or fit.never(host, need) or fit.not_now(host, self.state.usage[host.id], need)):
                assert self._rate(host, need) >= paid

    def _rate(self, host: Host, need: fit.Need) -> float:
        return costs.rate(host, need.cpus, need.memory_bytes, need.gpus, need.share)


def resources(dice: int) -> Resources:
    """One of a few, so that jobs share classes."""
    gpu = (
        None,
        GpuRequest(count=Range(1, 1)),
        GpuRequest(count=Range(2, 2)),
        GpuRequest(names=("H100",), count=Range(1, 1)),
        GpuRequest(count=Range(1, 1), share=(1, 2)),
        GpuRequest(count=Range(1, 1), share=(1, 3)),
    )[dice % 6]
    return Resources(cpus=Range(1 + dice // 6 % 3), memory_bytes=Range((dice // 18 % 2) << 32), gpu=gpu)


def spec(dice: int) -> JobSpec:
    """A job of one of ten classes; one of them has variants."""
    kind = dice % 10
    variants = ()
    if kind == 9:
        speeds = ((4.0, 1.0), (None, None), (1.0, 3.0))[dice // 10 % 3]
        variants = (Variant("fast", resources(3), speed=speeds[0]), Variant("slow", resources(0), speed=speeds[1]))
    wheres = (HostFilter(), HostFilter(), HostFilter(backends=("a",)), HostFilter(max_price=0.5))
    return JobSpec(
        argv=("x",),
        placement=Placement.ANY,
        # What is known of speeds steers the last nodes of a job: see test_choice.
        nodes=1 if variants else 1 + dice // 7 % 5,
        resources=resources(kind * 7),
        priority=(0, 0, 0, 5)[dice // 11 % 4],
        optimize=(Optimize.COST, Optimize.PACK, Optimize.COST, Optimize.SPREAD)[kind % 4],
        where=wheres[kind // 2 % 4],
        max_duration=(None, 600.0)[kind // 8],
        variants=variants,
    )


def step(world: World, kind: str, dice: int) -> None:
    """Do one thing."""
    if kind == "j":
        world.submit(spec(dice), user=("ann", "bob", "eve")[dice // 23 % 3])
    elif kind == "h" and len(world.state.hosts) < 8:
        add_host(world, dice)
    elif kind == "c" and world.state.hosts:
        host = sorted(world.state.hosts)[dice % len(world.state.hosts)]
        world.post(CordonRequested(host, cordoned=not world.state.hosts[host].cordoned))
    elif kind == "s" and world.state.unfinished:
        world.post(StopRequested(sorted(world.state.unfinished)[dice % len(world.state.unfinished)], "ann"))
        for allocation in world.held():
            if allocation.stop_reason:
                world.obey(allocation)
    elif kind == "g" and world.state.hosts:
        host = world.state.hosts[sorted(world.state.hosts)[dice % len(world.state.hosts)]]
        # What runs there goes on: a GPU that has it stopped makes a second attempt, of which the naive planner is not.
        sign = (Sign.REMAP_FAILED, Sign.MEMORY_HELD, Sign.PCIE_WIDTH)[dice // 5 % 3]
        seen = Evidence(f"{host.name}-{dice // 7 % 4}", sign, sequence=of_host(world.state, host.id).sequence + 1)
        world.post(HostReported(host.id, host.epoch, evidence=(seen,)))
    elif kind == "r" and world.state.health:
        with suppress(Conflict):
            world.post(ReleaseRequested(sorted(world.state.health)[dice % len(world.state.health)], user="ann"))
    elif kind == "e" and world.state.allocations:
        world.end(sorted(world.state.allocations)[dice % len(world.state.allocations)])


def add_host(world: World, dice: int) -> None:
    """Join a host with one of a few shapes and prices."""
    name = f"n{len(world.state.hosts)}"
    price = (None, None, None, 2.0)[dice // 5 % 4]
    machine = hardware((2, 4, 12, 30)[dice % 4], (0, 2, 4, 8)[dice // 3 % 4], MODELS[dice // 7 % 2], name)
    world.add_host(name, machine, HostFacts(backend="ab"[dice % 2], price_per_hour=price))


def play(world: World, seed: int, steps: int = 50) -> None:
    """A whole history."""
    dice = Random(seed)
    for _ in range(4):
        add_host(world, dice.getrandbits(28))
    for _ in range(steps):
        step(world, dice.choice("jjjjeeeehcsggr"), dice.getrandbits(28))


@pytest.fixture(autouse=True)
def nobody_keeps_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reservations have tests of their own (test_reservations); the naive planner knows of none."""
    monkeypatch.setattr(reservations, "MAX_HEADS", 0)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_plan_is_that_of_a_planner_without_memory(seed: int) -> None:
    play(Checked(), seed)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_plan_hangs_on_nothing_but_the_state(seed: int) -> None:
    worlds = [Checked(), Checked(reorder=True)]
    for world in worlds:
        world.naive = False
        play(world, seed)
    assert worlds[0].plans == worlds[1].plans


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_turns_that_end_early_come_to_the_same_plan(seed: int) -> None:
    whole, pieces = Checked(), Checked()
    whole.naive = pieces.naive = False
    play(whole, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds.Work, "__init__", _one_placement)
        play(pieces, seed)
    assert whole.plans == pieces.plans


def _one_placement(work: rounds.Work, left: float = 1.0) -> None:
    work.left = left


# ---------------------------------------------------------------- fairness


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    cpus=st.integers(1, 2),
    ends=st.lists(st.integers(0, 1 << 30), max_size=30),
    first=st.integers(3, 40),
)
def test_two_users_hold_the_same_but_for_one_node(sizes: list[int], cpus: int, ends: list[int], first: int) -> None:
    world = World()
    for number, size in enumerate(sizes):
        world.add_host(f"n{number}", hardware(size * 2, prefix=f"n{number}"))
    # Two users of the same kind of nodes, one with many small jobs and one with a large one.
    large = JobSpec(argv=("x",), placement=Placement.ANY, nodes=60, resources=Resources(cpus=Range(cpus)))
    small = JobSpec(argv=("x",), placement=Placement.ANY, nodes=first, resources=Resources(cpus=Range(cpus)))

    def held(user: str) -> int:
        return sum(world.state.jobs[a.job_id].user == user for a in world.held())

    for host in world.state.hosts:
        world.post(CordonRequested(host, cordoned=True))
    world.submit(large, user="ann")
    for _ in range(60 // first + 1):
        world.submit(small, user="bob")
    for host in sorted(world.state.hosts):
        world.post(CordonRequested(host, cordoned=False))
        assert abs(held("ann") - held("bob")) <= 1
    for dice in ends:
        if world.held():
            world.end(world.held()[dice % len(world.held())].id)
            assert abs(held("ann") - held("bob")) <= 1


def test_whoever_had_the_fleet_for_long_waits_for_who_had_not() -> None:
    world = World()
    world.add_host("one", hardware(cpus=4))
    job = JobSpec(argv=("x",), placement=Placement.ANY, nodes=100)
    world.submit(job, user="ann")
    world.advance(3600.0)
    world.submit(job, user="bob")
    users = []
    for _ in range(3):
        world.end(min(a.id for a in world.held()))
        users.append(sorted(world.state.jobs[a.job_id].user for a in world.held()))
    assert users == [["ann"] * (3 - n) + ["bob"] * (n + 1) for n in range(3)]
    assert world.state.shares.recent("ann", world.now) == pytest.approx(0.5, abs=0.01)


def test_priority_goes_before_fairness_and_age() -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    first = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, nodes=2))
    low = world.submit(JobSpec(argv=("x",), placement=Placement.ANY), user="bob")
    high = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, priority=9), user="ann")
    order = []
    while held := world.held():
        order.append(held[0].job_id)
        world.end(held[0].id)
    # With nothing held, both users hold the same: the older job goes on.
    assert order == [first.id, high.id, first.id, low.id]


# ---------------------------------------------------------------- what a turn costs


def test_jobs_that_ask_the_same_are_looked_at_once() -> None:
    world = World()
    host = world.add_host("one", hardware(cpus=2))
    for _ in range(300):
        world.submit(JobSpec(argv=("x",), placement=Placement.ANY))
    (line,) = world.state.queue.lines.values()
    assert line.offers is not None
    before = line.offers.looks
    world.end(world.held()[0].id)
    assert line.offers.looks - before <= 4
    world.report(host.id)
    assert line.offers.looks - before <= 4, "a heartbeat is no reason to look"


def test_a_large_job_is_placed_in_several_turns_with_others_in_between() -> None:
    world = Checked()
    world.naive = False
    for number in range(5):
        world.add_host(f"n{number}", hardware(cpus=200, prefix=f"n{number}"))
    turns = _turns(world, lambda: world.submit(JobSpec(argv=("x",), placement=Placement.ANY, nodes=1200)))
    assert turns >= 1000 / rounds.TURN_WORK
    assert len(world.held()) == 1000


def _turns(world: World, act: Callable[[], object]) -> int:
    """How many plans were made while something was done."""
    count = 0
    original = Turn.__init__

    def counted(turn: Turn, *args: Any) -> None:
        nonlocal count
        count += 1
        original(turn, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turn, "__init__", counted)
        act()
        world.post(Ticked())
    return count
