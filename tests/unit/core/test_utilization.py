"""Jobs that keep GPUs idle are ended, where their users said so, and only on what was really read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.events import HostReported
from coordinator.core.ids import HostId
from coordinator.core.model import JobState, NodeState
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources, UtilizationPolicy
from tests.fakes.world import World, hardware

WINDOW = 300.0
STEP = 15.0


def spec(nodes: int = 1, gpus: int = 2, placement: Placement = Placement.ANY) -> JobSpec:
    resources = Resources(gpu=GpuRequest(count=Range(gpus, gpus)) if gpus else None)
    policy = UtilizationPolicy(min_gpu_percent=10.0, window=WINDOW)
    return JobSpec(argv=("x",), nodes=nodes, placement=placement, resources=resources, utilization=policy)


def two_hosts() -> World:
    world = World()
    for name in ("one", "two"):
        world.add_host(name, hardware(8, gpus=2, prefix=name))
    return world


def tell(world: World, host: HostId, *percents: float | None, seconds: float = STEP) -> None:
    """Time passes, and then the host tells what its GPUs do."""
    world.advance(seconds)
    record = world.state.hosts[host]
    assert record.hardware is not None
    gpus = tuple(
        replace(gpu, utilization_percent=percent) for gpu, percent in zip(record.hardware.gpus, percents, strict=True)
    )
    world.post(HostReported(host, record.epoch, hardware=replace(record.hardware, gpus=gpus)))


def idle(world: World, host: HostId, seconds: float) -> None:
    for _ in range(round(seconds / STEP)):
        tell(world, host, 0.0, 3.0)


def test_a_job_whose_gpus_are_idle_for_the_window_is_ended_with_the_numbers() -> None:
    world = two_hosts()
    job = world.submit(spec())
    world.start(job.id)
    host = world.held(job.id)[0].host_id
    idle(world, host, WINDOW)
    assert world.job(job.id).state is JobState.RUNNING, "the window begins with the first reading"
    tell(world, host, 1.0, 4.0)
    assert world.job(job.id).state is JobState.STOPPING
    world.start(job.id)
    ended = world.job(job.id)
    name = world.state.hosts[host].name
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 122)
    assert ended.reason == f"utilization_policy: node 0 on {name}: all its 2 GPUs were below 10% for 5m, at most at 4%"
    assert not world.state.idle


@pytest.mark.parametrize("reading", [(50.0, 0.0), (None, 0.0), (None, None), (10.0, 10.0)])
def test_one_busy_or_unknown_gpu_begins_the_window_anew(reading: tuple[float | None, ...]) -> None:
    world = two_hosts()
    job = world.submit(spec())
    world.start(job.id)
    host = world.held(job.id)[0].host_id
    for _ in range(3):
        idle(world, host, WINDOW - STEP)
        tell(world, host, *reading)
    assert world.job(job.id).state is JobState.RUNNING


def test_a_gap_between_readings_and_a_restart_count_as_unknown() -> None:
    world = two_hosts()
    job = world.submit(spec())
    world.start(job.id)
    host = world.held(job.id)[0].host_id
    idle(world, host, 60.0)
    tell(world, host, 0.0, 0.0, seconds=WINDOW)
    assert world.job(job.id).state is JobState.RUNNING
    idle(world, host, WINDOW - STEP)
    world.restart()
    for each in list(world.state.hosts):
        world.open(each)
    idle(world, host, WINDOW)
    assert world.job(job.id).state is JobState.RUNNING
    tell(world, host, 0.0, 0.0)
    assert world.job(job.id).state is JobState.STOPPING


def test_what_does_not_run_holds_no_gpus_or_has_no_policy_is_left_alone() -> None:
    world = two_hosts()
    placed = world.submit(spec())
    host = world.held(placed.id)[0].host_id
    without = world.submit(replace(spec(), utilization=None))
    no_gpus = world.submit(spec(gpus=0))
    for job in (without, no_gpus):
        world.start(job.id)
    for each in list(world.state.hosts):
        idle(world, each, 2 * WINDOW)
    assert world.held(placed.id)[0].host_id == host
    assert {world.job(j.id).state for j in (without, no_gpus)} == {JobState.RUNNING}
    assert world.job(placed.id).state is JobState.STARTING


@pytest.mark.parametrize("placement", Placement)
def test_one_idle_node_ends_its_whole_job(placement: Placement) -> None:
    world = two_hosts()
    job = world.submit(spec(nodes=2, placement=placement))
    world.start(job.id)
    assert world.job(job.id).state is JobState.RUNNING
    first, second = (held.host_id for held in world.held(job.id))
    for _ in range(round(WINDOW / STEP) + 1):
        tell(world, first, 0.0, 0.0)
        tell(world, second, 99.0, 99.0, seconds=0.0)
    world.start(job.id)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.FAILED, 122)
    assert {world.node(job.id, rank).state for rank in (0, 1)} == {NodeState.STOPPED}
