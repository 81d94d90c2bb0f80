"""Preemption: who makes place for whom, how it ends for both, and who never has to."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import explain
from coordinator.core.ids import JobId
from coordinator.core.model import EndCause, JobState, NodeState, Phase
from coordinator.core.spec import JobSpec, OnNodeFailure, RetryEvent, RetryPolicy
from tests.fakes.days import Days, spec


def low(cpus: int, *, nodes: int = 1, gang: bool = False, priority: int = 0, grace: float = 5.0) -> JobSpec:
    """A job that may be preempted."""
    job = spec(cpus, nodes=nodes, gang=gang, priority=priority, preemptible=True)
    return replace(job, stop_duration=grace)


def stopping(days: Days) -> list[JobId]:
    """The jobs of what is told to stop."""
    return [a.job_id for a in days.world.held() if a.wanted is Phase.STOPPING]


def test_a_node_makes_place_through_its_grace_and_comes_back_afterwards() -> None:
    days = Days()
    days.hosts(4)
    loser = days.submit(low(4), 1000.0)
    winner = days.submit(spec(4, priority=90), 10.0)
    name = days.world.job(winner).name
    assert days.world.node(loser, 0).reason == f"preempted by job {name} (priority 90)"
    assert "waits for 1 preempted node to end" in explain.summary(days.world.state, days.world.job(winner))
    assert days.started(winner) is None
    days.until(1005.0)
    assert days.started(winner) == 1005.0
    node = days.world.node(loser, 0)
    assert (node.state, node.cause, node.reason) == (
        NodeState.PENDING,
        EndCause.PREEMPTED,
        f"preempted by job {name} (priority 90)",
    )
    days.until(1015.0)
    assert days.world.job(winner).state is JobState.DONE
    assert days.world.node(loser, 0).state is NodeState.RUNNING
    days.until(2015.0)
    assert days.world.job(loser).state is JobState.DONE


def test_being_preempted_is_no_failure_and_uses_up_no_attempt() -> None:
    days = Days()
    days.hosts(4)
    policy = RetryPolicy(frozenset(RetryEvent), attempts=2)
    once = replace(low(4), retry=policy, on_node_failure=OnNodeFailure.RETRY)
    loser = days.submit(once, 1000.0)
    for _ in range(3):
        days.submit(spec(4, priority=50), 10.0)
        days.until(days.world.now + 20.0)
    node = days.world.node(loser, 0)
    assert (node.state, node.preempted, node.errors, node.host_failures) == (NodeState.RUNNING, 3, 0, 0)
    days.world.end(days.world.held(loser)[0].id, 1)
    assert days.world.node(loser, 0).state is NodeState.PENDING
    days.until(days.world.now + 100.0)
    days.world.advance(100.0)
    days.world.end(days.world.held(loser)[0].id, 1)
    assert days.world.job(loser).state is JobState.FAILED


def test_a_gang_makes_place_as_a_whole_and_is_formed_again() -> None:
    days = Days()
    days.hosts(4, 4, 4)
    gang = days.submit(low(4, nodes=3, gang=True), 100.0)
    winner = days.submit(spec(4, priority=1), 10.0)
    assert stopping(days) == [gang] * 3
    days.until(1005.0)
    assert days.started(winner) == 1005.0
    # Nothing of it is held meanwhile.
    assert days.world.held(gang) == []
    job = days.world.job(gang)
    assert (job.state, job.preempted, job.avoids, job.host_failures) == (JobState.QUEUED, 1, (), 0)
    days.until(1015.0)
    assert (days.world.job(gang).state, days.world.job(gang).generation) == (JobState.RUNNING, 2)


def test_a_gang_takes_the_place_of_nodes_on_as_many_hosts_as_it_lacks() -> None:
    days = Days()
    days.hosts(4, 4, 4)
    small = [days.submit(low(4), 1000.0) for _ in range(2)]
    days.submit(spec(4, priority=5), 1000.0)
    gang = days.submit(spec(4, nodes=2, gang=True, priority=9), 10.0)
    assert sorted(stopping(days)) == small
    days.until(1005.0)
    assert days.started(gang) == 1005.0


def test_the_lowest_priority_goes_first_and_then_what_began_last() -> None:
    days = Days()
    days.hosts(2, 2, 2)
    days.submit(low(2, priority=2), 1000.0)
    older = days.submit(low(2, priority=1), 1000.0)
    days.until(1001.0)
    younger = days.submit(low(2, priority=1), 1000.0)
    days.submit(spec(2, priority=9), 10.0)
    assert stopping(days) == [younger]
    days.until(1006.0)
    days.submit(spec(2, priority=9), 10.0)
    assert stopping(days) == [older]


def test_no_more_has_to_go_than_it_takes() -> None:
    days = Days()
    days.hosts(6)
    days.submit(low(1, nodes=2), 1000.0)
    days.until(1001.0)
    large = days.submit(low(4), 1000.0)
    days.submit(spec(4, priority=9), 10.0)
    assert stopping(days) == [large]


def test_several_nodes_take_several_places_at_once_and_nobody_creeps_in_between() -> None:
    days = Days()
    days.hosts(4, 4)
    losers = [days.submit(low(2, grace=grace), 1000.0) for grace in (1.0, 1.0, 5.0, 5.0)]
    winner = days.submit(spec(4, nodes=2, priority=9), 10.0)
    assert sorted(stopping(days)) == losers
    days.until(1001.0)
    assert days.started(winner) is None
    assert all(not days.world.held(JobId(job)) for job in losers[:2])
    days.until(1005.0)
    assert len(days.world.held(winner)) == 2


def test_nobody_is_preempted_where_that_would_not_help() -> None:
    days = Days()
    days.hosts(4, 4)
    for wanted in (spec(1), spec(1), low(3), low(3)):
        assert days.started(days.submit(wanted, 1000.0)) == 1000.0
    days.submit(spec(4, priority=9), 10.0)
    days.submit(spec(1, nodes=3, gang=True, priority=9), 10.0)
    assert stopping(days) == []


def test_nobody_is_preempted_by_its_equal_nor_for_an_end_that_is_near_nor_by_one_that_was_preempted() -> None:
    days = Days()
    days.hosts(4)
    loser = days.submit(low(4, priority=5), 1000.0)
    days.submit(spec(4, priority=5), 10.0)
    assert stopping(days) == []
    days.submit(spec(4, 30.0, priority=9), 30.0)
    assert stopping(days) == [loser]
    days.until(1030.0)
    days.submit(replace(low(4, priority=7), max_duration=30.0), 30.0)
    days.until(1060.0)
    assert days.started(loser) is not None


load = st.builds(
    lambda cpus, nodes, gang, priority, preemptible, most: spec(
        cpus, most, nodes=nodes, gang=gang, priority=priority, preemptible=preemptible
    ),
    cpus=st.integers(1, 4),
    nodes=st.integers(1, 3),
    gang=st.booleans(),
    priority=st.integers(0, 3),
    preemptible=st.sampled_from([True, True, False]),
    most=st.none() | st.sampled_from([50.0, 500.0]),
)


@settings(max_examples=80, deadline=None)
@given(cpus=st.lists(st.integers(2, 5), min_size=1, max_size=4), before=st.lists(load, max_size=8), head=load)
def test_only_what_is_lower_and_may_be_is_preempted_and_then_the_head_fits(
    cpus: list[int], before: list[JobSpec], head: JobSpec
) -> None:
    days = Days()
    days.hosts(*cpus)
    for wanted in before:
        days.submit(wanted, 400.0)
        days.until(days.world.now + 1.0)
    days.until(days.world.now + 20.0)
    winner = days.submit(replace(head, priority=head.priority + 1), 10.0)
    for allocation in [a for a in days.world.held() if a.preempted_by]:
        loser, taker = days.world.job(allocation.job_id), days.world.job(JobId(allocation.preempted_by))
        assert loser.spec.preemptible
        assert loser.spec.priority < taker.spec.priority
    made_place = [a for a in days.world.held() if a.preempted_by == winner]
    held = len(days.world.held(winner))
    days.until(days.world.now)  # None of them has any grace.
    if made_place:
        assert len(days.world.held(winner)) > held
