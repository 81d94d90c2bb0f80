"""What is tried again, where and when: the class of the failure decides, and each class has its own budget."""

from __future__ import annotations

import pytest

from coordinator.core import explain, retry
from coordinator.core.model import EndCause, HostFacts, JobState, NodeState
from coordinator.core.spec import JobSpec, OnNodeFailure, Placement, RetryEvent, RetryPolicy, Spread
from tests.fakes.world import World, hardware

ANY = Placement.ANY


def policy(*events: RetryEvent, attempts: int | None = None, duration: float | None = None) -> RetryPolicy:
    return RetryPolicy(frozenset(events), duration, attempts)


def fail_now(world: World, job_id: str, code: int = 1, cause: EndCause = EndCause.EXIT) -> None:
    (held,) = [a for a in world.held() if a.job_id == job_id]
    world.end(held.id, code, cause)


def test_a_failed_program_is_tried_again_so_often_and_rests_in_between() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, retry=policy(RetryEvent.ERROR, attempts=3)))
    for attempt in (1, 2):
        fail_now(world, job.id, 7)
        assert world.held(job.id) == [], "tried again without a rest"
        assert world.node(job.id, 0).state is NodeState.PENDING
        assert "1 node rests after a failure" in explain.summary(world.state, world.job(job.id))
        world.advance(5.0)
        assert [a.attempt for a in world.held(job.id)] == [attempt + 1]
    fail_now(world, job.id, 7)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.FAILED, 7)


def test_a_policy_for_errors_alone_does_not_retry_a_lost_host() -> None:
    world = World()
    world.add_host("one")
    world.add_host("two")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, retry=policy(RetryEvent.ERROR)))
    fail_now(world, job.id, cause=EndCause.HOST)
    assert world.job(job.id).state is JobState.FAILED


@pytest.mark.parametrize("cause", [EndCause.STOPPED, EndCause.MAX_DURATION])
def test_what_was_stopped_or_ran_too_long_is_never_tried_again(cause: EndCause) -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, retry=RetryPolicy()))
    fail_now(world, job.id, 143, cause)
    assert world.job(job.id).state.ended


def test_a_retry_gives_up_when_its_duration_is_over() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, retry=policy(RetryEvent.ERROR, duration=20.0)))
    fail_now(world, job.id)
    world.advance(10.0)
    fail_now(world, job.id)
    world.advance(15.0)
    fail_now(world, job.id)
    assert world.job(job.id).state is JobState.FAILED


def test_rests_grow_and_never_exceed_the_longest() -> None:
    rests = [retry.delay(errors, EndCause.EXIT, "j-1.0.1") for errors in range(1, 12)]
    assert 0.75 <= rests[0] <= 1.25
    assert all(rest <= retry.LONGEST_DELAY * 1.25 for rest in rests)
    assert rests[4] > 2 * rests[1]
    assert retry.delay(3, EndCause.HOST, "j-1.0.1") == 0.0
    assert len({retry.delay(1, EndCause.EXIT, f"j-1.{rank}.1") for rank in range(50)}) > 20


def test_on_node_failure_retry_has_a_budget_of_its_own() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, on_node_failure=OnNodeFailure.RETRY))
    for _ in range(retry.MAX_ERRORS):
        world.advance(10.0)
        fail_now(world, job.id, 2)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.FAILED, 2)
    assert world.node(job.id, 0).attempt == retry.MAX_ERRORS


def test_on_node_failure_fail_stops_the_others_with_the_nodes_code() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=9, on_node_failure=OnNodeFailure.FAIL))
    world.start(job.id)
    world.end(world.held(job.id)[1].id, 5)
    assert world.job(job.id).state is JobState.STOPPING
    world.start(job.id)
    ended = world.job(job.id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 5)
    assert ended.reason == "node 1 failed: exit code 5"


def test_on_node_failure_ignore_is_success_that_says_so() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=2, on_node_failure=OnNodeFailure.IGNORE))
    first, second = world.held(job.id)
    world.end(first.id, 1)
    world.end(second.id, 0)
    ended = world.job(job.id)
    assert (ended.state, ended.exit_code) == (JobState.DONE, 0)
    assert ended.reason == "1 of 2 nodes failed, which is ignored"


@pytest.mark.parametrize(
    ("spread", "expected"),
    [(Spread.HOST, "same-region"), (Spread.REGION, "same-cloud"), (Spread.BACKEND, "other-cloud")],
)
def test_a_lost_node_keeps_away_from_the_domain_where_it_was_lost(spread: Spread, expected: str) -> None:
    world = World()
    places = {
        "first": HostFacts(backend="a", region="r", price_per_hour=0.0),
        "same-region": HostFacts(backend="a", region="r", price_per_hour=1.0),
        "same-cloud": HostFacts(backend="a", region="s", price_per_hour=2.0),
        "other-cloud": HostFacts(backend="b", region="r", price_per_hour=3.0),
    }
    hosts = {name: world.add_host(name, hardware(prefix=name), facts) for name, facts in places.items()}
    job = world.submit(JobSpec(argv=("x",), placement=ANY, spread=spread))
    assert world.held(job.id)[0].host_id == hosts["first"].id
    fail_now(world, job.id, cause=EndCause.HOST)
    assert world.held(job.id)[0].host_id == hosts[expected].id


def test_a_lost_node_goes_back_when_there_is_nowhere_else() -> None:
    world = World()
    world.add_host("only")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, spread=Spread.BACKEND))
    fail_now(world, job.id, cause=EndCause.HOST)
    assert [a.attempt for a in world.held(job.id)] == [2]


def test_a_gang_whose_program_failed_is_formed_anew_after_a_rest() -> None:
    world = World()
    world.add_host("a")
    world.add_host("b")
    job = world.submit(JobSpec(argv=("x",), nodes=2, retry=policy(RetryEvent.ERROR, attempts=2)))
    world.start(job.id)
    world.end(world.held(job.id)[0].id, 9)
    world.start(job.id)
    assert world.job(job.id).state is JobState.QUEUED
    assert {a.attempt for a in world.held(job.id)} == {1}, "formed anew without a rest"
    assert "rests after a failure before it is formed again" in explain.summary(world.state, world.job(job.id))
    world.advance(5.0)
    world.start(job.id)
    assert world.job(job.id).generation == 2
    world.end(world.held(job.id)[0].id, 9)
    world.start(job.id)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.FAILED, 9)


def test_a_job_that_may_wait_only_so_long_for_capacity_is_given_up() -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    world.submit(JobSpec(argv=("x",), placement=ANY))
    job = world.submit(JobSpec(argv=("x",), retry=policy(RetryEvent.NO_CAPACITY, duration=60.0)))
    world.advance(59.0)
    assert world.job(job.id).state is JobState.QUEUED
    # Whatever is written down takes the time along.
    world.submit(JobSpec(argv=("x",), placement=ANY))
    world.restart()
    for host in list(world.state.hosts):
        world.open(host)
    world.advance(2.0)
    assert world.job(job.id).state is JobState.FAILED
    assert "no capacity within 60 s: waits for a host to be free" in world.job(job.id).reason


def test_priority_goes_before_age() -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    running = world.submit(JobSpec(argv=("x",), placement=ANY))
    older = world.submit(JobSpec(argv=("x",), placement=ANY))
    urgent = world.submit(JobSpec(argv=("x",), placement=ANY, priority=10))
    world.end(world.held(running.id)[0].id)
    assert (len(world.held(urgent.id)), len(world.held(older.id))) == (1, 0)
