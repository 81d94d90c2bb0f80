"""Hosts that leave by themselves: told to go, uninstalled, or lent for a while. Their work goes elsewhere, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator import snapshots
from coordinator.core.errors import Conflict, HostForgotten
from coordinator.core.events import (
    CordonRequested,
    DrainRequested,
    HostJoined,
    HostLeft,
    HostReported,
    SessionOpened,
    VacateAsked,
)
from coordinator.core.ids import HostId
from coordinator.core.model import EndCause, HostFacts, HostState, NodeState, Phase
from coordinator.core.sessions import FIRST_CALL_SECONDS
from coordinator.core.spec import DisconnectAction, JobSpec, OnDisconnect, Placement, RetryPolicy
from tests.fakes.world import World, hardware

ANY = JobSpec(argv=("x",), placement=Placement.ANY, retry=RetryPolicy(attempts=1))
SHORT = HostFacts(ephemeral=True)


def world_of(**facts: HostFacts) -> World:
    world = World()
    for name, stated in facts.items():
        world.add_host(name, hardware(1, prefix=name), stated)
    return world


def host_of(world: World, name: str) -> HostId:
    return next(host.id for host in world.state.hosts.values() if host.name == name)


def names(world: World) -> list[str]:
    return sorted(host.name for host in world.state.hosts.values())


def come_back(world: World, host: HostId, *, leaving: bool = False) -> None:
    known = world.state.hosts[host]
    assert known.hardware is not None
    world.post(SessionOpened(host, known.facts, known.hardware, known.peer, "test", leaving=leaving))


def test_a_host_that_is_told_to_go_is_drained_and_says_why_and_its_work_runs_elsewhere() -> None:
    world = world_of(a=SHORT, b=HostFacts())
    world.post(CordonRequested("b", cordoned=True))
    job = world.submit(ANY)
    world.start(job.id)
    world.post(CordonRequested("b", cordoned=False))
    world.post(VacateAsked(host_of(world, "a"), 0.0, "its provider takes it back"))
    (held,) = world.held()
    assert (held.wanted, held.stop_reason) == (Phase.STOPPING, "host a is to go: its provider takes it back")
    view = next(view for view in snapshots.hosts(world.state) if view.host.name == "a")
    assert view.warning == "draining by its own wish (its provider takes it back): 1 node is left, and told to stop"
    world.end(held.id, 143, EndCause.STOPPED)
    (held,) = world.held()
    assert world.state.hosts[held.host_id].name == "b"
    node = world.node(job.id, 0)
    assert (node.errors, node.host_failures) == (0, 0), "nobody's failure: its one attempt is still to be used up"
    world.post(HostLeft(host_of(world, "a"), idle=False, reason="its provider takes it back"))
    assert names(world) == ["b"]


def test_a_drain_of_its_own_wish_ends_when_it_comes_back_but_not_with_a_mere_reconnection() -> None:
    world = world_of(a=HostFacts())
    a = host_of(world, "a")
    world.post(VacateAsked(a, 60.0, "it was told to stop"))
    come_back(world, a, leaving=True)
    assert world.state.hosts[a].cordoned
    world.restart()
    assert world.state.hosts[a].vacates_for == "it was told to stop"
    come_back(world, a)
    host = world.state.hosts[a]
    assert (host.cordoned, host.vacate_at, host.vacates_for) == (False, 0.0, "")
    job = world.submit(ANY)
    world.start(job.id)
    world.advance(90.0)
    assert world.node(job.id, 0).state is NodeState.RUNNING, "the deadline of the drain that ended must not come"


@pytest.mark.parametrize("order", [CordonRequested("a", cordoned=True), DrainRequested("a", 0.0)])
def test_what_its_owner_ordered_outlasts_what_a_host_wishes(order: CordonRequested | DrainRequested) -> None:
    world = world_of(a=HostFacts())
    a = host_of(world, "a")
    world.post(order)
    world.post(VacateAsked(a, 5.0, "it was told to stop"))
    come_back(world, a)
    assert world.state.hosts[a].cordoned
    world.post(VacateAsked(a, 5.0, "again"))
    world.post(order)
    come_back(world, a)
    assert world.state.hosts[a].cordoned


def test_a_host_leaves_with_work_only_if_it_says_that_nothing_runs_there() -> None:
    world = world_of(a=HostFacts())
    a = host_of(world, "a")
    job = world.submit(replace(ANY, name="busy"))
    world.start(job.id)
    with pytest.raises(Conflict, match="host 'a' still runs busy"):
        world.post(HostLeft(a, idle=False, reason="uninstalled"))
    world.add_host("b", hardware(1, prefix="b"))
    world.post(HostLeft(a, idle=True, reason="uninstalled"))
    assert names(world) == ["b"]
    (held,) = world.held()
    assert held.attempt == 2
    assert world.node(job.id, 0).reason == "attempt 1 on h-1: host a is to go: uninstalled"
    with pytest.raises(HostForgotten):
        world.post(HostReported(a, 1))
    assert world.post(HostLeft(a, idle=True, reason="said twice")) is None


def test_a_group_is_formed_again_without_the_host_that_left() -> None:
    world = world_of(a=HostFacts(), b=HostFacts(), c=HostFacts())
    job = world.submit(JobSpec(argv=("x",), nodes=2, retry=RetryPolicy()))
    world.start(job.id)
    first = world.held()[0].host_id
    world.post(HostLeft(first, idle=True, reason="uninstalled"))
    for _ in range(3):
        world.start(job.id)
    assert {held.host_id for held in world.held()} == set(world.state.hosts)
    assert {held.observed for held in world.held()} == {Phase.RUNNING}


def test_an_ephemeral_host_is_forgotten_once_its_lease_has_ended_and_not_before() -> None:
    world = world_of(a=SHORT, b=SHORT)
    timing = world.state.timing
    job = world.submit(replace(ANY, retry=RetryPolicy()))
    world.start(job.id)
    gone = world.held()[0].host_id
    world.asleep = {gone}
    world.advance(timing.lost - 1.0)
    assert len(world.state.hosts) == 2
    assert world.held()[0].host_id == gone, "its first copy may still run"
    world.advance(2.0)
    (held,) = world.held()
    assert (held.attempt, list(world.state.hosts)) == (2, [held.host_id])
    assert held.host_id != gone


def test_one_that_said_goodbye_is_forgotten_then_too_and_a_restart_does_not_keep_it() -> None:
    world = world_of(a=SHORT, stays=HostFacts())
    world.post(HostReported(host_of(world, "a"), world.state.hosts[host_of(world, "a")].epoch, goodbye=True))
    world.asleep = set(world.state.hosts)
    world.restart()
    assert names(world) == ["a", "stays"]
    world.advance(world.state.timing.lost + 1.0)
    assert names(world) == ["stays"]
    assert world.state.hosts[host_of(world, "stays")].state is HostState.LOST


def test_one_that_joined_and_never_called_is_forgotten() -> None:
    world = World()
    world.post(HostJoined("a", SHORT, "m"))
    world.post(HostJoined("b", HostFacts(), "n"))
    world.restart()
    world.advance(FIRST_CALL_SECONDS + 1.0)
    assert names(world) == ["b"]


def test_work_that_is_kept_keeps_its_ephemeral_host_in_the_list_until_it_is_over() -> None:
    world = world_of(a=SHORT)
    a, lost = host_of(world, "a"), world.state.timing.lost
    job = world.submit(replace(ANY, on_disconnect=OnDisconnect(DisconnectAction.KEEP, None)))
    world.start(job.id)
    world.asleep = {a}
    world.advance(10 * lost)
    assert (names(world), len(world.held())) == (["a"], 1), "never placed twice, so never forgotten"
    world.asleep = set()
    come_back(world, a)
    world.end(world.held()[0].id, 0)
    world.asleep = {a}
    world.advance(lost + 1.0)
    assert names(world) == []
