"""`redundancy`: copies of a node in different backends; the first success wins and the others are stopped."""

from __future__ import annotations

import pytest

from coordinator import snapshots
from coordinator.core import backends, trial
from coordinator.core.events import BackupRestored, StopRequested
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, EndCause, HostFacts, Job, JobState, NodeState, Phase
from coordinator.core.spec import (
    JobSpec,
    OnNodeFailure,
    Placement,
    RetryEvent,
    RetryPolicy,
    Spread,
    StopCriteria,
)
from tests.fakes.world import World, hardware


def fleet(*names: str, cpus: int = 4) -> World:
    """A host for each name; hosts of the same name stand in one backend, and earlier ones are cheaper."""
    world = World()
    for number, backend in enumerate(names):
        facts = HostFacts(backend=backend, price_per_hour=float(number))
        world.add_host(f"{backend}{number}", hardware(cpus=cpus, prefix=f"host{number}"), facts)
    return world


def spec(copies: int = 2, nodes: int = 1, **fields: object) -> JobSpec:
    return JobSpec(argv=("x",), placement=Placement.ANY, nodes=nodes, redundancy=copies, **fields)  # type: ignore[arg-type]


def where(world: World, job: Job) -> dict[str, str]:
    """The job's allocations (``RANK.ATTEMPT``) and their hosts."""
    return {f"{a.rank}.{a.attempt}": world.state.hosts[a.host_id].name for a in world.held(job.id)}


def copy_on(world: World, job: Job, name: str) -> Allocation:
    (found,) = [a for a in world.held(job.id) if world.state.hosts[a.host_id].name == name]
    return found


def state_of(world: World, job: Job) -> tuple[NodeState, int]:
    node = world.node(job.id, 0)
    return node.state, node.attempt


def test_copies_run_in_different_backends_and_have_attempts_of_their_own() -> None:
    world = fleet("a", "a", "b", "c")
    job = world.submit(spec(2))
    assert where(world, job) == {"0.1": "a0", "0.2": "b2"}


def test_no_copy_waits_for_another() -> None:
    world = fleet("a", "a")
    job = world.submit(spec(2))
    assert where(world, job) == {"0.1": "a0"}
    world.start(job.id)
    world.add_host("late", hardware(prefix="late"), HostFacts(backend="b"))
    assert where(world, job) == {"0.1": "a0", "0.2": "late"}


def test_first_copies_of_all_ranks_come_before_second_ones() -> None:
    world = fleet("a", "b", cpus=2)
    job = world.submit(spec(2, nodes=3))
    assert sorted(where(world, job)) == ["0.1", "0.2", "1.1", "2.1"]


def test_the_first_success_wins_and_the_others_are_stopped() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(3))
    world.start(job.id)
    assert state_of(world, job) == (NodeState.RUNNING, 1)
    world.end(copy_on(world, job, "b1").id, 0)
    node = world.node(job.id, 0)
    assert (node.state, node.attempt, node.exit_code) == (NodeState.DONE, 2, 0)
    assert world.state.hosts[node.host_id or HostId("")].name == "b1"
    losers = world.held(job.id)
    assert [a.attempt for a in losers] == [1, 3]
    assert {(a.wanted, a.stop_reason) for a in losers} == {(Phase.STOPPING, "attempt 2 on b1 finished first")}
    assert world.job(job.id).state is JobState.RUNNING, "ended while something of it is still held"
    world.start(job.id)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.DONE, 0)


def test_a_second_success_changes_nothing() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2))
    world.start(job.id)
    first, second = world.held(job.id)
    world.end(second.id, 0)
    world.end(first.id, 0)
    node = world.node(job.id, 0)
    assert (node.state, node.attempt, world.job(job.id).state) == (NodeState.DONE, 2, JobState.DONE)


def test_a_copy_that_failed_for_good_is_not_replaced_and_decides_nothing() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(2))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, 3)
    assert where(world, job) == {"0.2": "b1"}
    assert state_of(world, job) == (NodeState.RUNNING, 2)
    assert world.node(job.id, 0).reason == "attempt 1 on a0: exit code 3"
    world.end(copy_on(world, job, "b1").id, 0)
    assert world.job(job.id).state is JobState.DONE


def test_a_lost_copy_is_replaced_elsewhere_under_a_new_number() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(2))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, cause=EndCause.HOST)
    # Not where it was lost, though that is the cheapest.
    assert where(world, job) == {"0.2": "b1", "0.3": "c2"}


def test_a_lost_copy_goes_back_when_no_other_backend_is_left() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, cause=EndCause.HOST)
    assert where(world, job) == {"0.2": "b1", "0.3": "a0"}


def test_copies_keep_away_from_the_host_that_failed_inside_their_backend() -> None:
    world = fleet("a", "a", "b")
    job = world.submit(spec(2, spread=Spread.HOST))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, cause=EndCause.HOST)
    assert where(world, job) == {"0.2": "b2", "0.3": "a1"}


def test_a_node_fails_when_all_its_copies_have() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2))
    world.start(job.id)
    world.end(copy_on(world, job, "b1").id, 4)
    world.end(copy_on(world, job, "a0").id, 3)
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.FAILED, 3)
    assert state_of(world, job) == (NodeState.FAILED, 1)


def test_attempts_are_counted_over_all_copies() -> None:
    world = fleet("a", "b")
    policy = RetryPolicy(frozenset({RetryEvent.ERROR}), attempts=3)
    job = world.submit(spec(2, retry=policy))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, 1)
    assert where(world, job) == {"0.2": "b1"}, "tried again without a rest"
    world.advance(5.0)
    assert where(world, job) == {"0.2": "b1", "0.3": "a0"}
    world.end(copy_on(world, job, "a0").id, 1)
    world.advance(10.0)
    assert where(world, job) == {"0.2": "b1"}
    world.end(copy_on(world, job, "b1").id, 1)
    assert world.job(job.id).state is JobState.FAILED


def test_a_stop_stops_all_copies() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2))
    world.start(job.id)
    world.post(StopRequested(job.id, "ann"))
    assert {a.wanted for a in world.held(job.id)} == {Phase.STOPPING}
    first, second = world.held(job.id)
    world.obey(first)
    assert state_of(world, job) == (NodeState.STOPPING, 2)
    world.obey(second)
    assert world.job(job.id).state is JobState.STOPPED


def test_a_stop_while_losers_are_stopped_hurries_them_and_the_node_stays_done() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2, nodes=2, stop_duration=100.0))
    world.start(job.id)
    first = world.held(job.id)[0]
    world.end(first.id, 0)
    world.post(StopRequested(job.id, "ann", abort=True))
    assert {a.stop_grace for a in world.held(job.id)} == {0.0}
    world.start(job.id)
    assert (world.job(job.id).state, world.node(job.id, 0).state) == (JobState.STOPPED, NodeState.DONE)


def test_the_master_is_done_when_any_of_its_copies_is() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2, nodes=2, stop_criteria=StopCriteria.MASTER_DONE))
    world.start(job.id)
    world.end(next(a for a in world.held(job.id) if (a.rank, a.attempt) == (0, 2)).id, 0)
    assert {a.wanted for a in world.held(job.id)} == {Phase.STOPPING}
    world.start(job.id)
    assert world.job(job.id).state is JobState.DONE


def test_on_node_failure_fail_waits_for_all_copies() -> None:
    world = fleet("a", "b")
    job = world.submit(spec(2, nodes=2, on_node_failure=OnNodeFailure.FAIL))
    world.start(job.id)
    mine = [a for a in world.held(job.id) if a.rank == 1]
    world.end(mine[0].id, 5)
    assert world.job(job.id).state is JobState.RUNNING
    world.end(mine[1].id, 6)
    assert world.job(job.id).state is JobState.STOPPING


def test_the_copy_that_runs_first_leads_the_node_until_it_is_gone() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(3))
    assert state_of(world, job) == (NodeState.PLACED, 1)
    world.obey(copy_on(world, job, "b1"))
    assert state_of(world, job) == (NodeState.RUNNING, 2)
    world.obey(copy_on(world, job, "a0"))
    assert state_of(world, job) == (NodeState.RUNNING, 2)
    world.end(copy_on(world, job, "b1").id, 1)
    assert state_of(world, job) == (NodeState.RUNNING, 1)
    world.end(copy_on(world, job, "a0").id, 1)
    assert state_of(world, job) == (NodeState.PLACED, 3)


def test_a_host_with_two_copies_of_different_nodes_is_lost() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(2, nodes=2))
    world.start(job.id)
    lost = copy_on_host = next(a.host_id for a in world.held(job.id))
    world.asleep.add(lost)
    world.advance(40.0)
    assert {a.rank for a in world.held(job.id)} == {0, 1}
    assert len(world.held(job.id)) == 4
    assert copy_on_host not in {a.host_id for a in world.held(job.id)}


def test_a_restart_forgets_nothing_of_it() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(2))
    world.start(job.id)
    world.end(copy_on(world, job, "a0").id, 3)
    world.restart()
    for host in list(world.state.hosts):
        world.open(host)
    assert where(world, job) == {"0.2": "b1"}, "a copy that failed for good is made up for"
    world.end(copy_on(world, job, "b1").id, cause=EndCause.HOST)
    assert list(where(world, job)) == ["0.3"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("a", "a"), "2 copies of each node asked, 1 backend fits (a): runs with 1"),
        (("a", "b"), ""),
    ],
)
def test_what_can_be_had_is_said_before(names: tuple[str, ...], text: str) -> None:
    world = fleet(*names)
    assert backends.few(world.state, spec(2)) == text
    job = world.submit(spec(2))
    assert text in snapshots.job_view(world.state, world.job(job.id)).reason


def test_a_plan_counts_what_would_really_be_placed() -> None:
    world = fleet("a", "b", "b", cpus=2)
    planned = trial.plan(world.state, spec(2, nodes=3), "ann")
    job = world.submit(spec(2, nodes=3))
    held = world.held(job.id)
    assert [(a.id, a.host_id) for a in planned.nodes] == [(a.id, a.host_id) for a in held]
    assert (planned.placed, len(planned.nodes)) == (3, 5)


def test_a_restored_backup_keeps_the_copies_that_ran_and_makes_up_for_the_others() -> None:
    world = fleet("a", "b", "c")
    job = world.submit(spec(2))
    world.obey(copy_on(world, job, "b1"))
    world.restart()
    world.post(BackupRestored(age=60.0))
    assert where(world, job) == {"0.2": "b1"}
    assert state_of(world, job) == (NodeState.RUNNING, 2)
    for host in list(world.state.hosts):
        world.open(host)
    world.advance(40.0)
    kept, new = world.held(job.id)
    assert (kept.attempt, new.attempt > 100_000) == (2, True)
