"""``startup_order``: who starts first, whose announcement the others wait for, and for how long."""

from __future__ import annotations

import pytest

from coordinator.core import explain
from coordinator.core.events import AllocationStatus, StopRequested
from coordinator.core.ids import JobId
from coordinator.core.model import GangPhase, JobState, Phase
from coordinator.core.spec import JobSpec, NodeGroup, RetryPolicy, StartupOrder, StopCriteria
from tests.fakes.world import World
from tests.unit.core.test_gangs import a_world, host, lose, places

MASTER_FIRST, WORKERS_FIRST = StartupOrder.MASTER_FIRST, StartupOrder.WORKERS_FIRST


def formed(order: StartupOrder, nodes: int = 3, **more: object) -> tuple[World, JobId]:
    """A job whose group was formed; those of its nodes that were told to start run."""
    world = a_world("a", "b", "c", "d", "e")
    spec = JobSpec(**{"argv": ("x",), "nodes": nodes, "startup_order": order, **more})  # type: ignore[arg-type]
    job = world.submit(spec).id
    world.start(job)
    assert world.state.gangs[job].phase is GangPhase.RUNNING
    return world, job


def wanted(world: World, job: JobId) -> str:
    """For each rank whether it was told to start: ``r`` or ``-``."""
    return "".join("r" if a.wanted is Phase.RUNNING else "-" for a in world.held(job))


def announce(world: World, job: JobId, *ranks: int) -> None:
    for allocation in world.held(job):
        if allocation.rank in ranks:
            world.report(allocation.host_id, AllocationStatus(allocation.id, Phase.RUNNING, ready=True))


def test_without_an_order_all_start_at_once() -> None:
    world, job = formed(StartupOrder.ANY)
    assert wanted(world, job) == "rrr"


def test_the_others_start_when_the_master_announces_to_be_ready() -> None:
    world, job = formed(MASTER_FIRST)
    assert wanted(world, job) == "r--"
    assert explain.summary(world.state, world.job(job)) == (
        "running on a, b, c; nodes 1, 2 start when node 0 announced to be ready (touch $RALLYPOINT_READY_FILE), "
        "after 30 s in any case"
    )
    announce(world, job, 0)
    assert wanted(world, job) == "rrr"
    world.advance(60.0)
    assert world.job(job).reason == ""


def test_the_master_starts_when_all_others_announced_to_be_ready() -> None:
    world, job = formed(WORKERS_FIRST)
    assert wanted(world, job) == "-rr"
    announce(world, job, 2)
    assert wanted(world, job) == "-rr"
    announce(world, job, 1)
    assert wanted(world, job) == "rrr"


@pytest.mark.parametrize("order", [MASTER_FIRST, WORKERS_FIRST])
def test_a_single_node_waits_for_nobody(order: StartupOrder) -> None:
    world, job = formed(order, nodes=1)
    assert wanted(world, job) == "r"


def test_without_an_announcement_the_others_start_after_half_a_minute_and_the_job_says_so() -> None:
    world, job = formed(WORKERS_FIRST)
    announce(world, job, 1)
    world.advance(29.0)
    assert wanted(world, job) == "-rr"
    world.advance(2.0)
    assert wanted(world, job) == "rrr"
    assert world.job(job).reason == (
        "node 2 did not announce to be ready within 30 s (touch $RALLYPOINT_READY_FILE); node 0 started all the same"
    )


@pytest.mark.parametrize(
    "names_it",
    [
        {"commands": ("serve && touch $RALLYPOINT_READY_FILE", "work"), "argv": ()},
        {"env": {"READY": "$RALLYPOINT_READY_FILE"}},
        {"groups": (NodeGroup("servers", commands=("touch $RALLYPOINT_READY_FILE",)), NodeGroup("workers", nodes=2))},
    ],
)
def test_a_job_that_names_the_file_is_waited_for_as_long_as_it_takes(names_it: dict[str, object]) -> None:
    world, job = formed(MASTER_FIRST, **names_it)
    world.advance(900.0)
    assert wanted(world, job) == "r--"
    assert "in any case" not in explain.summary(world.state, world.job(job))
    announce(world, job, 0)
    assert wanted(world, job) == "rrr"


def test_a_node_that_is_done_needs_no_announcement() -> None:
    world, job = formed(WORKERS_FIRST)
    announce(world, job, 2)
    world.end(world.held(job)[1].id)
    assert wanted(world, job) == "rr"


def test_an_announcement_outlives_a_restart_and_half_a_minute_begins_anew() -> None:
    world, job = formed(WORKERS_FIRST)
    announce(world, job, 1)
    world.advance(20.0)
    world.restart()
    for name in "abc":
        world.open(host(world, name))
    world.advance(20.0)
    assert wanted(world, job) == "-rr"
    announce(world, job, 2)
    assert wanted(world, job) == "rrr"


def test_a_loss_before_the_others_started_ends_the_generation_and_the_next_keeps_the_order() -> None:
    world, job = formed(MASTER_FIRST, retry=RetryPolicy())
    world.probe_all()
    lose(world, "b")
    world.start(job)
    world.probe_all()
    world.start(job)
    assert (places(world, job), world.job(job).generation, wanted(world, job)) == ("a d c", 2, "r--")
    announce(world, job, 0)
    assert wanted(world, job) == "rrr"


def test_a_master_that_is_done_first_ends_the_job_by_its_rule() -> None:
    world, job = formed(MASTER_FIRST, stop_criteria=StopCriteria.MASTER_DONE)
    world.end(world.held(job)[0].id)
    world.start(job)
    assert world.job(job).state is JobState.DONE
    assert not world.held(job)


def test_a_stop_ends_those_that_wait_too() -> None:
    world, job = formed(MASTER_FIRST)
    world.post(StopRequested(job, "ann"))
    announce(world, job, 0)
    world.start(job)
    assert (world.job(job).state, world.held(job)) == (JobState.STOPPED, [])


def test_a_spare_announces_nothing_and_is_not_started() -> None:
    world, job = formed(WORKERS_FIRST, spares=1)
    world.probe_all()
    announce(world, job, 1, 2)
    assert wanted(world, job) == "rrr-"
