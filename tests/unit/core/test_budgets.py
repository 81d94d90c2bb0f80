"""Jobs with a budget end when it is spent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.budgets import EXIT_BUDGET, deadline
from coordinator.core.ledger import job_cost
from coordinator.core.model import EndCause, HostFacts, Job, JobState, Phase
from coordinator.core.spec import JobSpec, Placement
from tests.fakes.world import World, hardware

ANY = JobSpec(argv=("x",), placement=Placement.ANY, budget=2.0, stop_duration=60.0)


def priced_world(*prices: float, cpus: int = 1) -> World:
    world = World()
    for number, price in enumerate(prices):
        facts = HostFacts(price_per_hour=price, backend=f"cloud{number}")
        world.add_host(f"host{number}", hardware(cpus, prefix=f"host{number}"), facts)
    return world


def start(world: World, job: Job) -> None:
    """Have everything of the job run."""
    for _ in range(2):
        for held in world.held(job.id):
            world.obey(held)


def finish(world: World, job: Job) -> Job:
    """Have everything that was told to stop be gone."""
    for held in world.held(job.id):
        assert held.wanted is Phase.STOPPING
        world.end(held.id, 143, EndCause.STOPPED)
    return world.job(job.id)


def test_a_job_fails_with_the_reason_when_its_budget_is_spent() -> None:
    world = priced_world(4.0)
    job = world.submit(ANY)
    start(world, job)
    world.advance(1790)
    assert world.job(job.id).state is JobState.RUNNING
    world.advance(20)
    stopping = world.job(job.id)
    said = "its budget of 2.00 USD is spent: 2.00 USD after 30m"
    assert (stopping.state, stopping.reason) == (JobState.STOPPING, said)
    ended = finish(world, job)
    assert (ended.state, ended.exit_code, ended.reason) == (JobState.FAILED, EXIT_BUDGET, said)
    assert deadline(job) not in world.state.deadlines


def test_nothing_more_is_placed_of_a_job_whose_budget_is_spent() -> None:
    world = priced_world(4.0)
    job = world.submit(replace(ANY, nodes=50))
    for _ in range(3):
        world.advance(600)
        (held,) = world.held(job.id)
        if held.wanted is not Phase.STOPPING:
            world.end(held.id)
    ended = finish(world, job) if world.held(job.id) else world.job(job.id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, EXIT_BUDGET)
    assert ended.spent == pytest.approx(2.0, rel=0.01)


def test_copies_and_spares_count() -> None:
    world = priced_world(4.0, 4.0)
    job = world.submit(replace(ANY, redundancy=2))
    assert len(world.held(job.id)) == 2
    assert world.state.deadlines[deadline(job)] == pytest.approx(world.now + 900)
    group = priced_world(4.0, 4.0)
    job = group.submit(replace(ANY, placement=Placement.CLUSTER, spares=1))
    assert len(group.held(job.id)) == 2
    assert group.state.deadlines[deadline(job)] == pytest.approx(group.now + 900)
    group.advance(905)
    assert finish(group, job).exit_code == EXIT_BUDGET


def test_the_moment_moves_when_what_is_held_changes() -> None:
    world = priced_world(4.0, 4.0)
    job = world.submit(replace(ANY, nodes=2))
    assert world.state.deadlines[deadline(job)] == pytest.approx(world.now + 900)
    world.advance(600)
    world.end(world.held(job.id)[0].id)
    assert world.state.deadlines[deadline(job)] == pytest.approx(world.now + 600)


def test_a_budget_holds_over_a_restart() -> None:
    world = priced_world(4.0)
    job = world.submit(ANY)
    start(world, job)
    world.advance(1200)
    world.state.served = world.now
    world.restart()
    assert world.state.deadlines[deadline(job)] == pytest.approx(world.now + 600, abs=1)
    world.open(world.held(job.id)[0].host_id)
    world.advance(610)
    assert "is spent" in world.job(job.id).reason


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(st.floats(0.01, 50), min_size=1, max_size=4),
    nodes=st.integers(1, 6),
    budget=st.floats(0.001, 20),
    steps=st.lists(st.sampled_from([1.0, 7.0, 400.0, 3000.0]), max_size=12),
    ends=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_never_is_more_spent_than_the_budget_and_what_the_grace_costs(
    prices: list[float], nodes: int, budget: float, steps: list[float], ends: list[bool]
) -> None:
    world = priced_world(*prices)
    job = world.submit(replace(ANY, nodes=nodes, budget=budget))
    start(world, job)
    grace, dearest = 60.0, sum(prices)
    for seconds, end in zip(steps, ends, strict=False):
        world.advance(seconds)
        start(world, job)
        # A host obeys within its beat; whoever is told to stop is gone when the grace is over, at the latest.
        stopping = [held for held in world.held(job.id) if held.wanted is Phase.STOPPING]
        assert bool(stopping) or world.job(job.id).state.ended or job_cost(world.state, world.job(job.id)) < budget
        if stopping:
            over = job_cost(world.state, world.job(job.id)) - budget
            assert over <= dearest * (seconds + grace) / 3600 + 1e-6
            finish(world, job)
        elif end and world.held(job.id):
            world.end(world.held(job.id)[0].id)
    spent = world.job(job.id)
    if spent.state is JobState.FAILED:
        assert (spent.exit_code, spent.spent >= budget * 0.999) == (EXIT_BUDGET, True)
