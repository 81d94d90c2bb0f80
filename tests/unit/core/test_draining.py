"""Hosts that are drained: no new work, and what runs goes elsewhere, as if it had never been there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator import snapshots
from coordinator.core import explain
from coordinator.core.errors import Conflict
from coordinator.core.events import CordonRequested, DrainRequested, RemovalRequested, StopRequested
from coordinator.core.model import EndCause, HostFacts, JobState, NodeState, Phase
from coordinator.core.spec import JobSpec, Placement, RetryPolicy
from coordinator.rpc.agent_service import _known_outputs as known_outputs
from tests.fakes.world import World, hardware

ANY = JobSpec(argv=("x",), placement=Placement.ANY, stop_duration=20.0)


def world_of(*names: str, cpus: int = 1) -> World:
    world = World()
    for name in names:
        world.add_host(name, hardware(cpus, prefix=name))
    return world


def run(world: World) -> None:
    """Have everything run that is wanted to."""
    for _ in range(2):
        for held in world.held():
            world.obey(held)


def gone(world: World) -> None:
    """Have everything be gone that was told to stop."""
    for held in world.held():
        if held.wanted is Phase.STOPPING and held.observed is not Phase.ENDED:
            world.end(held.id, 143, EndCause.STOPPED)


def warning(world: World, name: str) -> str:
    return next(view.warning for view in snapshots.hosts(world.state) if view.host.name == name)


def test_a_node_is_stopped_with_its_grace_and_placed_elsewhere_without_counting_as_a_failure() -> None:
    world = world_of("a", "b")
    job = world.submit(replace(ANY, retry=RetryPolicy(attempts=1)))
    run(world)
    name = world.state.hosts[world.held(job.id)[0].host_id].name
    world.post(DrainRequested(name))
    (held,) = world.held(job.id)
    assert (held.wanted, held.stop_grace, held.stop_reason) == (Phase.STOPPING, 20.0, f"host {name} is drained")
    assert warning(world, name) == "draining: 1 node is left, and told to stop"
    gone(world)
    (held,) = world.held(job.id)
    assert world.state.hosts[held.host_id].name != name
    node = world.node(job.id, 0)
    assert (node.state, node.attempt, node.errors, node.host_failures) == (NodeState.PLACED, 2, 0, 0)
    assert node.reason == f"attempt 1 on {name}: host {name} is drained"
    assert warning(world, name) == "drained: nothing is left on it"
    world.post(RemovalRequested(name))
    # The one attempt that its rules allow is still there to be used up.
    world.end(held.id, 1)
    assert world.job(job.id).state is JobState.FAILED


def test_until_the_deadline_what_runs_goes_on_and_nothing_new_comes() -> None:
    world = world_of("a", cpus=2)
    job = world.submit(ANY)
    run(world)
    world.post(DrainRequested("a", 600.0))
    other = world.submit(replace(ANY, name="other"))
    assert world.held(other.id) == []
    assert "it is drained; 'coordinator host resume' lets work in again" in explain.summary(world.state, other)
    world.wall_offset = 1e9 - world.now
    world.state.at = replace(world.state.at, wall=1e9)
    assert warning(world, "a").startswith("draining: 1 node is left, to go by 01:")
    with pytest.raises(Conflict, match="coordinator host drain a"):
        world.post(RemovalRequested("a"))
    world.advance(590)
    assert world.held(job.id)[0].wanted is Phase.RUNNING
    world.advance(15)
    assert world.held(job.id)[0].wanted is Phase.STOPPING


def test_resuming_ends_a_drain_that_has_not_come_to_its_end() -> None:
    world = world_of("a")
    job = world.submit(ANY)
    run(world)
    world.post(DrainRequested("a", 60.0))
    host = world.post(CordonRequested("a", cordoned=False))
    assert (host.cordoned, host.vacate_at) == (False, 0.0)
    world.advance(120)
    assert world.held(job.id)[0].wanted is Phase.RUNNING


def test_a_later_drain_counts_and_a_cordon_changes_none() -> None:
    world = world_of("a")
    job = world.submit(ANY)
    run(world)
    world.post(DrainRequested("a", 3600.0))
    world.post(CordonRequested("a", cordoned=True))
    world.post(DrainRequested("a", 60.0))
    world.advance(70)
    assert world.held(job.id)[0].wanted is Phase.STOPPING


def test_a_drain_holds_over_a_restart_which_stops_its_clock() -> None:
    world = world_of("a")
    job = world.submit(ANY)
    run(world)
    world.post(DrainRequested("a", 100.0))
    world.state.served = world.now
    world.now += 3600
    world.restart()
    world.open(world.held(job.id)[0].host_id)
    world.advance(90)
    assert world.held(job.id)[0].wanted is Phase.RUNNING
    world.advance(20)
    assert world.held(job.id)[0].wanted is Phase.STOPPING


def test_a_gang_is_formed_again_with_a_spare_and_the_others_stay_where_they_are() -> None:
    world = world_of("a", "b", "c")
    job = world.submit(JobSpec(argv=("x",), nodes=2, spares=1, stop_duration=5.0))
    run(world)
    assert world.job(job.id).state is JobState.RUNNING
    before = {held.rank: held.host_id for held in world.held(job.id)}
    leaves = world.state.hosts[before[0]]
    world.post(DrainRequested(leaves.name))
    assert {held.rank for held in world.held(job.id) if held.wanted is Phase.STOPPING} == {0, 1}
    gone(world)
    after = {held.rank: held.host_id for held in world.held(job.id)}
    assert after[1] == before[1]
    assert after[0] == before[2]
    formed = world.job(job.id)
    assert (formed.generation, formed.host_failures, formed.errors, formed.avoids) == (2, 0, 0, ())
    assert f"host {leaves.name} is drained" in formed.reason
    run(world)
    assert world.job(job.id).state is JobState.RUNNING


def test_a_spare_on_a_drained_host_is_free_at_once_and_the_gang_goes_on() -> None:
    world = world_of("a", "b")
    job = world.submit(JobSpec(argv=("x",), spares=1))
    run(world)
    spare = next(held for held in world.held(job.id) if held.rank == 1)
    world.post(DrainRequested(spare.host_id))
    assert [held.rank for held in world.held(job.id)] == [0]
    assert world.job(job.id).state is JobState.RUNNING


@pytest.mark.parametrize("drained", ["x", "y"])
def test_a_copy_is_made_anew_on_another_host_of_its_backend(drained: str) -> None:
    world = World()
    for name, backend in (("a", "x"), ("b", "y"), ("c", "y"), ("d", "x")):
        world.add_host(name, hardware(1, prefix=name), HostFacts(backend=backend))
    job = world.submit(replace(ANY, redundancy=2))
    run(world)
    moved = next(held for held in world.held(job.id) if world.state.hosts[held.host_id].facts.backend == drained)
    world.post(DrainRequested(moved.host_id))
    assert world.node(job.id, 0).state is NodeState.RUNNING
    gone(world)
    hosts = {world.state.hosts[held.host_id].facts.backend: held.host_id for held in world.held(job.id)}
    assert set(hosts) == {"x", "y"}
    assert hosts[drained] != moved.host_id
    assert world.node(job.id, 0).copies_failed == 0


def test_a_job_that_is_stopped_while_its_host_is_drained_stays_stopped() -> None:
    world = world_of("a", "b")
    job = world.submit(ANY)
    run(world)
    world.post(DrainRequested(world.held(job.id)[0].host_id))
    world.post(StopRequested(job.id, "ann"))
    gone(world)
    assert world.job(job.id).state is JobState.STOPPED


def test_the_host_that_a_node_had_to_leave_may_still_send_the_rest_of_its_output() -> None:
    world = world_of("a", "b", "c")
    job = world.submit(ANY)
    run(world)
    (held,) = world.held(job.id)
    world.post(DrainRequested(held.host_id))
    gone(world)
    run(world)
    (again,) = world.held(job.id)
    known = {host: known_outputs(world.state, host, [held.id, again.id]) for host in world.state.hosts}
    other = next(iter(set(known) - {held.host_id, again.host_id}))
    assert known == {held.host_id: {held.id}, again.host_id: {again.id}, other: set()}
