"""A user has an ended job tried again: which nodes, with which numbers and budgets, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import RetryRequested, StopRequested
from coordinator.core.ids import tries
from coordinator.core.model import EndCause, Job, JobState, NodeState
from coordinator.core.spec import Dependency, JobSpec, OnNodeFailure, Placement, RetryEvent, RetryPolicy
from tests.fakes.world import World, hardware

SPEC = JobSpec(argv=("x",), placement=Placement.ANY, name="search")


def world_of(*cpus: int) -> World:
    world = World()
    for number, count in enumerate(cpus):
        world.add_host(f"host{number}", hardware(count, prefix=f"host{number}"))
    return world


def ended(world: World, codes: dict[int, int], nodes: int) -> Job:
    """A job of so many nodes that has ended, some with codes other than 0."""
    job = world.submit(replace(SPEC, nodes=nodes))
    world.start(job.id)
    for held in world.held(job.id):
        world.end(held.id, codes.get(held.rank, 0))
    assert world.job(job.id).state.ended
    return world.job(job.id)


def retry(world: World, job: str, failed: bool = False) -> Job:
    again: Job = world.post(RetryRequested(job, "ann", failed))
    return world.job(again.id)


def test_failed_nodes_begin_anew_with_the_next_attempt_and_what_is_done_stays_done() -> None:
    world = world_of(4)
    job = ended(world, {1: 3, 3: 4}, 4)
    assert (job.state, job.exit_code) == (JobState.FAILED, 3)
    again = retry(world, "search", failed=True)
    assert (again.id, again.exit_code, again.ended_at, again.started_at) == (job.id, None, 0.0, job.started_at)
    assert [(a.rank, a.attempt) for a in world.held(job.id)] == [(1, 2), (3, 2)]
    assert "exit code 3" in world.node(job.id, 1).reason
    world.start(job.id)
    for held in world.held(job.id):
        world.end(held.id)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.DONE, 0)
    assert [world.node(job.id, rank).attempt for rank in range(4)] == [1, 2, 1, 2]


def test_without_failed_all_that_is_not_done_begins_anew() -> None:
    world = world_of(3)
    job = world.submit(replace(SPEC, nodes=5))
    world.end(world.held(job.id)[0].id, 1)
    world.post(StopRequested(job.id, "ann"))
    world.start(job.id)
    assert world.job(job.id).state is JobState.STOPPED
    assert world.state.counts[job.id][NodeState.FAILED] == 1
    world.restart()
    world.open(next(iter(world.state.hosts)))
    retry(world, job.id)
    assert world.job(job.id).reason == ""
    assert world.state.counts[job.id][NodeState.STOPPED] == 0
    while world.held(job.id):
        world.end(world.held(job.id)[0].id)
    assert world.job(job.id).state is JobState.DONE
    assert world.state.counts[job.id][NodeState.DONE] == 5


def test_a_node_that_rested_when_its_job_was_stopped_is_tried_again() -> None:
    world = world_of(2)
    job = world.submit(replace(SPEC, retry=RetryPolicy(frozenset({RetryEvent.ERROR}))))
    world.end(world.held(job.id)[0].id, 1)
    assert world.state.resting[job.id]
    world.post(StopRequested(job.id, "ann"))
    assert world.job(job.id).state is JobState.STOPPED
    retry(world, job.id)
    assert [a.attempt for a in world.held(job.id)] == [2]


def test_a_group_begins_anew_as_a_whole_with_the_next_generation() -> None:
    world = world_of(1, 1)
    job = world.submit(replace(SPEC, placement=Placement.CLUSTER, nodes=2))
    world.start(job.id)
    world.end(world.held(job.id)[0].id, 5)
    world.start(job.id)
    assert world.job(job.id).state is JobState.FAILED
    retry(world, job.id, failed=True)
    assert world.state.gangs[job.id].generation == 2
    assert {a.attempt for a in world.held(job.id)} == {2}
    world.start(job.id)
    for held in world.held(job.id):
        world.end(held.id)
    assert world.job(job.id).state is JobState.DONE


@pytest.mark.parametrize("placement", Placement)
def test_budgets_are_fresh_and_count_from_the_retry_on(placement: Placement) -> None:
    world = world_of(1)
    policy = RetryPolicy(frozenset({RetryEvent.ERROR}), attempts=2, duration=30.0)
    job = world.submit(replace(SPEC, placement=placement, retry=policy))

    def fail_once() -> None:
        world.start(job.id)
        for held in world.held(job.id):
            world.end(held.id, 1)
        world.advance(5.0)

    attempts = []
    for _ in range(3):
        for _ in range(2):
            attempts += [a.attempt for a in world.held(job.id)]
            fail_once()
        assert world.job(job.id).state is JobState.FAILED
        world.advance(60.0)
        retry(world, job.id)
    assert attempts == [1, 2, 3, 4, 5, 6]


def test_attempts_are_counted_from_a_retry_and_from_a_restored_backup() -> None:
    assert (tries(3), tries(100_003), tries(5, 3), tries(100_002, 3)) == (3, 3, 2, 2)


def test_a_node_that_lost_too_many_hosts_may_lose_as_many_again() -> None:
    world = world_of(4)
    job = world.submit(SPEC)
    for _ in range(2):
        for _ in range(3):
            world.end(world.held(job.id)[0].id, None, EndCause.HOST)
        assert world.job(job.id).state is JobState.FAILED
        retry(world, job.id)
    assert world.held(job.id)[0].attempt == 7


def test_what_can_not_be_tried_again_is_refused_with_the_reason() -> None:
    world = world_of(4)
    with pytest.raises(NotFound, match="'search'"):
        retry(world, "search")
    job = world.submit(SPEC)
    with pytest.raises(Conflict, match="is starting; only an ended job"):
        retry(world, job.id)
    world.end(world.held(job.id)[0].id)
    with pytest.raises(Conflict, match="has no node that is not done"):
        retry(world, job.id)
    stopped = world.submit(SPEC)
    world.post(StopRequested(stopped.id, "ann"))
    world.start(stopped.id)
    with pytest.raises(Conflict, match="has no node that failed"):
        retry(world, stopped.id, failed=True)
    newer = world.submit(SPEC)
    with pytest.raises(Conflict, match=f"a job named 'search' has not ended yet \\({newer.id}\\)"):
        retry(world, stopped.id)


def test_the_name_means_the_job_that_lives_also_after_a_restart() -> None:
    world = world_of(4)
    old, new = ended(world, {0: 1}, 1), ended(world, {}, 1)
    assert world.state.names["search"] == new.id
    retry(world, old.id)
    assert world.state.names["search"] == old.id
    world.restart()
    assert world.state.names["search"] == old.id
    with pytest.raises(Conflict, match="has not ended yet"):
        world.submit(SPEC)


def test_a_job_that_never_began_waits_again_for_what_it_waits_for() -> None:
    world = world_of(4)
    first = ended(world, {0: 1}, 1)
    follower = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, after=(Dependency(first.id),)))
    assert follower.state is JobState.FAILED
    retry(world, first.id)
    retry(world, follower.id)
    assert world.held(follower.id) == []
    world.end(world.held(first.id)[0].id)
    assert len(world.held(follower.id)) == 1


def test_ignored_failures_may_be_tried_again_and_copies_are_made_anew() -> None:
    world = world_of(4)
    job = world.submit(replace(SPEC, nodes=2, on_node_failure=OnNodeFailure.IGNORE))
    for held in world.held(job.id):
        world.end(held.id, held.rank)
    assert world.job(job.id).state is JobState.DONE
    retry(world, job.id, failed=True)
    assert [a.rank for a in world.held(job.id)] == [1]
