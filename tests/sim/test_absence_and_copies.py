"""`on_disconnect` and `redundancy` in the simulator: short scripts of what matters, and bugs planted to be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.core import absence, copies, ends
from coordinator.core.model import HostFacts, JobState, Node, NodeState
from coordinator.core.spec import DisconnectAction, JobSpec, OnDisconnect, Placement
from tests.sim import tools
from tests.sim.history import Broken, run
from tests.sim.host import Host, Program
from tests.sim.user import User
from tests.sim.world import World

ENOUGH = 300
CUT, MENDED = 5.0, 70.0


def script(program: Program, rule: OnDisconnect, *, stop_after: float | None = None) -> Callable[[World, User], float]:
    """A job on the first of two hosts, which is cut off for much longer than its lease."""

    def play(world: World, user: User) -> float:
        hosts = [world.join_host(1, 0, HostFacts()) for _ in range(2)]
        world.programs["job"] = program
        spec = JobSpec(name="job", argv=("x",), placement=Placement.ANY, on_disconnect=rule)
        world.clock.after(1.0, None, lambda: user.submit(spec, stop_after))
        world.clock.after(CUT, None, lambda: cut(hosts[0]))
        return MENDED

    return play


def cut(host: Host) -> None:
    host.link.up_cut = host.link.down_cut = True


def node(world: World) -> Node:
    return world.disk.nodes["j-1", 0]


def test_what_is_kept_ends_by_itself_and_is_known_afterwards() -> None:
    world = run(0, script=script(Program(seconds=40.0), OnDisconnect(DisconnectAction.KEEP)))
    assert (node(world).state, node(world).attempt, node(world).exit_code) == (NodeState.DONE, 1, 0)


def test_what_is_kept_for_a_time_is_over_before_the_host_is_back() -> None:
    world = run(0, script=script(Program(seconds=1e9), OnDisconnect(DisconnectAction.KEEP, 30.0)))
    assert (node(world).state, node(world).attempt) == (NodeState.FAILED, 1)
    assert "never placed twice" in node(world).reason


def test_a_stop_reaches_what_is_kept_when_its_host_is_back() -> None:
    keep = OnDisconnect(DisconnectAction.KEEP)
    world = run(0, script=script(Program(seconds=1e9), keep, stop_after=20.0))
    job = world.disk.jobs["j-1"]
    assert (job.state, node(world).attempt) == (JobState.STOPPED, 1)
    assert job.ended_at - world.wall_offset > MENDED


@pytest.mark.parametrize("seed", range(10))
def test_of_copies_that_end_at_one_moment_one_wins(seed: int) -> None:
    def play(world: World, user: User) -> float:
        for backend in ("a", "b", "c"):
            world.join_host(1, 0, HostFacts(backend))
        world.programs["job"] = Program(seconds=4.0)
        spec = JobSpec(name="job", argv=("x",), placement=Placement.ANY, redundancy=3)
        world.clock.after(1.0, None, lambda: user.submit(spec, None))
        return 10.0

    world = run(seed, script=play)
    assert (node(world).state, node(world).latest_attempt) == (NodeState.DONE, 3)


def plant_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator gives everything up with the lease."""
    monkeypatch.setattr(absence, "silence", lambda timing, spec: timing.lease)


def plant_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts end everything with the lease."""
    order = tools.Nodes.order

    def with_the_lease(nodes: tools.Nodes, desired: Any) -> Any:
        return {**order(nodes, desired), "after": 0.0}

    monkeypatch.setattr(tools.Nodes, "order", with_the_lease)


def plant_one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies go where there is room."""
    monkeypatch.setattr(copies, "backends", lambda *_: set())


def plant_running_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies that lost are left alone."""
    stop = ends.stop_allocation

    def but_not_losers(turn: Any, allocation: Any, how: Any) -> None:
        if "finished first" not in how.reason:
            stop(turn, allocation, how)

    monkeypatch.setattr(ends, "stop_allocation", but_not_losers)


PLANTS = {
    plant_giving_up: r"is given up|is freed while it runs",
    plant_ending: r"though it is to be kept",
    plant_one_backend: r"share a backend",
    plant_running_on: r"are not being stopped",
}


def look_for_a_broken_one() -> None:
    for seed in range(ENOUGH):
        run(seed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(Broken, match=PLANTS[plant]):
        look_for_a_broken_one()
