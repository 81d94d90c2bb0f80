"""Nodes whose processes can't be killed: said, and nothing that they hold is given to others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.events import AllocationStatus, StopRequested
from coordinator.core.model import EndCause, NodeState, Phase
from coordinator.core.spec import JobSpec, Placement
from coordinator.snapshots import host_view
from tests.fakes.world import World, hardware

STUCK = "processes that cannot be killed: 4711 (python3)"


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("placement", list(Placement))
def test_what_cannot_be_killed_keeps_what_it_holds(placement: Placement, stopped: bool) -> None:
    """Whether a user stopped it, or its main process ended and left others behind; also over a restart."""
    world = World()
    host = world.add_host("one", hardware(cpus=1))
    job = world.submit(JobSpec(argv=("x",), placement=placement, nodes=1))
    world.start(job.id)
    (held,) = world.held(job.id)
    if stopped:
        world.post(StopRequested(job.id, "ann"))
    world.report(host.id, AllocationStatus(held.id, Phase.STOPPING, reason=STUCK, started_at=world.now))
    waiting = world.submit(JobSpec(argv=("y",), placement=placement, nodes=1), request="2")
    assert world.node(job.id, 0).reason == STUCK
    assert world.held(waiting.id) == []
    assert host.id in world.state.hosts
    world.restart()
    world.beat()
    assert world.node(job.id, 0).reason == STUCK
    assert world.held(waiting.id) == []

    world.end(held.id, 137, EndCause.STOPPED if stopped else EndCause.EXIT)
    assert world.node(job.id, 0).state is (NodeState.STOPPED if stopped else NodeState.FAILED)
    assert len(world.held(waiting.id)) == 1


def test_a_host_that_warns_is_shown_with_its_warning() -> None:
    world = World()
    host = world.add_host("one")
    world.open(host.id, replace(hardware(), warnings=(f"j-1.0.1: {STUCK}",)))
    assert host_view(world.state, host.id, "").warning == f"j-1.0.1: {STUCK}"
