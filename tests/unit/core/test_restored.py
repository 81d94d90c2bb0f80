"""A coordinator that was restored from a backup: what hosts know and it does not can do no harm."""

from __future__ import annotations

from coordinator.core import explain
from coordinator.core.events import BackupRestored
from coordinator.core.ids import ATTEMPTS_A_LIFE
from coordinator.core.model import EndCause, GangPhase, JobState, NodeState
from coordinator.core.restored import REASON
from coordinator.core.spec import JobSpec, Placement, RetryEvent, RetryPolicy
from tests.fakes.world import World

ANY = JobSpec(argv=("x",), placement=Placement.ANY)


def world(hosts: int = 2) -> World:
    made = World()
    for number in range(hosts):
        made.add_host(f"host{number}")
    return made


def restore(world: World, age: float = 60.0) -> None:
    """Start from the state as it is, as if it were of a backup; every host calls again."""
    world.restart()
    world.post(BackupRestored(age))
    for host in tuple(world.state.hosts):
        world.open(host)
    world.probe_all()


def settle(world: World) -> None:
    """Wait until work is placed again."""
    world.advance(world.state.timing.lost + 1)


def test_numbers_given_out_after_the_backup_are_never_given_again() -> None:
    lived, restored = world(), world()
    for each in (lived, restored):
        each.submit(ANY)
    for _ in range(100):
        lived.submit(ANY)
    later = lived.add_host("later")
    lived.open(lived.state.hosts[later.id].id)

    restore(restored)
    assert restored.submit(ANY).number > lived.state.last_job_number
    number = int(restored.add_host("new").id.removeprefix("h-"))
    assert number > lived.state.last_host_number
    known = [host for host in restored.state.hosts if host in lived.state.hosts]
    assert all(restored.state.hosts[host].epoch > lived.state.hosts[host].epoch + 1000 for host in known)


def test_restoring_again_and_again_does_not_use_up_the_numbers() -> None:
    again = world()
    for _ in range(20):
        restore(again)
    assert again.submit(ANY).number < 10**8


def test_what_runs_goes_on_under_its_attempt_and_is_tried_again_under_a_new_one() -> None:
    restored = world()
    job = restored.submit(ANY)
    restored.start(job.id)
    restore(restored)
    (held,) = restored.held(job.id)
    assert (held.attempt, restored.node(job.id, 0).state) == (1, NodeState.RUNNING)
    restored.end(held.id, None, EndCause.HOST)
    settle(restored)
    assert [a.attempt for a in restored.held(job.id)] == [ATTEMPTS_A_LIFE + 1]


def test_nothing_is_placed_until_every_host_has_let_go_of_what_is_not_known() -> None:
    restored = world()
    restore(restored)
    job = restored.submit(ANY)
    restored.advance(restored.state.timing.lost - 1)
    assert restored.held(job.id) == []
    assert "restored from a backup" in explain.summary(restored.state, restored.job(job.id))
    restored.advance(2.0)
    assert [a.attempt for a in restored.held(job.id)] == [ATTEMPTS_A_LIFE + 1]


def test_what_was_given_to_a_host_and_not_seen_to_run_is_let_go_and_placed_anew() -> None:
    # It may have run and ended since the backup: under the same id the host could not tell the two apart.
    restored = world()
    job = restored.submit(ANY)
    restore(restored)
    assert restored.held(job.id) == []
    assert restored.node(job.id, 0).reason == REASON
    settle(restored)
    assert [a.attempt for a in restored.held(job.id)] == [ATTEMPTS_A_LIFE + 1]
    assert restored.node(job.id, 0).host_failures == 0


def test_a_group_that_was_being_prepared_is_given_up_and_formed_anew() -> None:
    restored = world()
    job = restored.submit(JobSpec(argv=("x",), nodes=2))
    restore(restored)
    assert restored.state.gangs[job.id].phase is GangPhase.STOPPING
    for allocation in restored.held(job.id):
        restored.obey(allocation)
    settle(restored)
    assert {a.attempt for a in restored.held(job.id)} == {ATTEMPTS_A_LIFE + 1}
    restored.start(job.id)
    assert restored.job(job.id).state is JobState.RUNNING


def test_a_group_that_runs_goes_on() -> None:
    restored = world()
    job = restored.submit(JobSpec(argv=("x",), nodes=2))
    restored.start(job.id)
    restore(restored)
    assert {a.attempt for a in restored.held(job.id)} == {1}
    assert restored.job(job.id).state is JobState.RUNNING


def test_a_users_limit_of_attempts_is_not_used_up_by_the_jump() -> None:
    restored = world()
    retry = RetryPolicy(frozenset({RetryEvent.ERROR}), None, attempts=2)
    job = restored.submit(JobSpec(argv=("x",), placement=Placement.ANY, retry=retry))
    restored.start(job.id)
    restore(restored)
    restored.end(restored.held(job.id)[0].id, 1)
    settle(restored)
    (held,) = restored.held(job.id)
    restored.end(held.id, 1)
    assert restored.node(job.id, 0).state is NodeState.PENDING
    settle(restored)
    restored.end(restored.held(job.id)[0].id, 1)
    assert restored.job(job.id).state is JobState.FAILED


def test_readers_do_not_wait_for_output_that_is_lost() -> None:
    restored = world()
    job = restored.submit(ANY)
    restored.start(job.id)
    restored.end(restored.held(job.id)[0].id)
    restored.restart()
    restored.post(BackupRestored(60.0, short=((job.id, 0, 5),)))
    assert restored.node(job.id, 0).log_bytes == 5
