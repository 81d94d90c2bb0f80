"""When jobs begin: after other jobs, at their time and again, and how many of their nodes at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import ends, explain
from coordinator.core.changes import Withheld
from coordinator.core.decide import decide, settle
from coordinator.core.errors import NotFound
from coordinator.core.events import CordonRequested, JobSubmitted, StopRequested
from coordinator.core.ids import HostId
from coordinator.core.model import Instant, Job, JobState, NodeState
from coordinator.core.spec import AfterWhen, Dependency, JobSpec, Placement, RetryEvent, RetryPolicy
from coordinator.core.turn import Turn
from coordinator.rpc.planning import plan_to_proto
from tests.fakes.world import World, hardware

SPEC = JobSpec(argv=("x",), placement=Placement.ANY)
# 2026-11-23 00:00 UTC, a Monday.
MIDNIGHT = 1_795_392_000.0


def after(*dependencies: tuple[str, AfterWhen]) -> JobSpec:
    return replace(SPEC, after=tuple(Dependency(job, when) for job, when in dependencies))


def one_host(cpus: int = 4, wall: float = MIDNIGHT) -> World:
    world = World()
    world.wall_offset = wall - world.now
    world.add_host("one", hardware(cpus))
    return world


def end(world: World, job: Job, code: int = 0) -> None:
    for held in world.held(job.id):
        world.end(held.id, code)


def state(world: World, job: Job) -> JobState:
    return world.job(job.id).state


# ---------------------------------------------------------------- after


def test_a_job_waits_for_the_good_end_of_another_and_is_placed_in_the_same_turn() -> None:
    world = one_host()
    train = world.submit(replace(SPEC, name="train"))
    evaluate = world.submit(after(("train", AfterWhen.OK)))
    assert [d.job for d in world.job(evaluate.id).spec.after] == ["j-1"]
    assert world.held(evaluate.id) == []
    assert explain.summary(world.state, world.job(evaluate.id)) == "waits for j-1 (train) to end well"
    end(world, train)
    assert len(world.held(evaluate.id)) == 1
    assert state(world, evaluate) is JobState.STARTING


@pytest.mark.parametrize(
    ("when", "done", "failed", "stopped"),
    [
        (AfterWhen.OK, JobState.STARTING, JobState.FAILED, JobState.FAILED),
        (AfterWhen.DONE, JobState.STARTING, JobState.STARTING, JobState.STARTING),
        (AfterWhen.FAILED, JobState.FAILED, JobState.STARTING, JobState.FAILED),
    ],
)
def test_which_ends_are_waited_for(when: AfterWhen, done: JobState, failed: JobState, stopped: JobState) -> None:
    for expected, how in ((done, 0), (failed, 3), (stopped, None)):
        world = one_host()
        train = world.submit(replace(SPEC, name="train"))
        follower = world.submit(after(("train", when)))
        if how is None:
            world.post(StopRequested(train.id, "ann"))
            world.start(train.id)
        else:
            end(world, train, how)
        assert state(world, train).ended
        assert state(world, follower) is expected
        if expected is JobState.FAILED:
            reason = world.job(follower.id).reason
            assert reason.startswith("was to wait for j-1 (train) to "), reason
            assert f"which ended as {state(world, train).value}" in reason


def test_an_end_that_can_not_come_ends_the_whole_chain_and_a_long_one_is_no_trouble() -> None:
    world = one_host()
    first = last = world.submit(SPEC)
    turn = Turn(world.state, Instant(world.now, world.now, world.now))
    for _ in range(2000):
        last = decide(turn, JobSubmitted(after((last.id, AfterWhen.OK)), "ann", ""))
    settle(turn)
    end(world, first, 1)
    assert state(world, last) is JobState.FAILED
    assert not world.state.unfinished
    assert not world.state.dependents


def test_a_job_waits_for_all_that_it_names() -> None:
    world = one_host()
    a, b = world.submit(SPEC), world.submit(SPEC)
    both = world.submit(after((a.id, AfterWhen.OK), (b.id, AfterWhen.DONE), (a.id, AfterWhen.OK)))
    end(world, a)
    assert explain.summary(world.state, world.job(both.id)) == f"waits for {b.id} ({b.name}) to end"
    end(world, b, 1)
    assert len(world.held(both.id)) == 1


def test_a_job_that_is_not_known_can_not_be_waited_for() -> None:
    world = one_host()
    with pytest.raises(NotFound, match="there is no job 'j-1'"):
        world.submit(after(("j-1", AfterWhen.OK)))  # it would be j-1 itself
    assert world.state.jobs == {}


def test_what_is_waited_for_outlives_a_restart_and_may_end_before_it() -> None:
    world = one_host()
    train = world.submit(SPEC)
    follower = world.submit(after((train.id, AfterWhen.OK)))
    world.restart()
    world.open(next(iter(world.state.hosts)))
    assert world.held(follower.id) == []
    assert world.state.withheld == {follower.id: Withheld.OTHERS}
    end(world, train)
    assert len(world.held(follower.id)) == 1


def test_a_job_that_ended_well_already_is_not_waited_for() -> None:
    world = one_host()
    train = world.submit(SPEC)
    end(world, train)
    assert len(world.held(world.submit(after((train.id, AfterWhen.OK))).id)) == 1
    assert state(world, world.submit(after((train.id, AfterWhen.FAILED)))) is JobState.FAILED


def test_a_job_that_is_waited_for_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "KEPT_JOBS", 3)
    world = one_host()
    train = world.submit(SPEC)
    slow = world.submit(SPEC)
    follower = world.submit(after((train.id, AfterWhen.OK), (slow.id, AfterWhen.OK)))
    end(world, train)
    for _ in range(4):
        end(world, world.submit(SPEC))
    assert train.id in world.state.jobs
    world.restart()
    world.open(next(iter(world.state.hosts)))
    end(world, slow)
    assert len(world.held(follower.id)) == 1


def test_the_wait_for_capacity_begins_when_the_other_job_has_ended() -> None:
    world = one_host(cpus=1)
    train = world.submit(SPEC)
    policy = RetryPolicy(frozenset({RetryEvent.NO_CAPACITY}), duration=60.0)
    follower = world.submit(replace(after((train.id, AfterWhen.OK)), retry=policy))
    world.advance(100.0)
    assert state(world, follower) is JobState.QUEUED
    blocker = world.submit(replace(SPEC, priority=5))
    end(world, train)
    assert len(world.held(blocker.id)) == 1
    world.advance(50.0)
    assert state(world, follower) is JobState.QUEUED
    world.advance(15.0)
    assert state(world, follower) is JobState.FAILED


def test_a_withheld_job_is_stopped_at_once() -> None:
    world = one_host()
    train = world.submit(SPEC)
    follower = world.submit(after((train.id, AfterWhen.OK)))
    world.post(StopRequested(follower.id, "ann"))
    assert state(world, follower) is JobState.STOPPED
    end(world, train)
    assert state(world, follower) is JobState.STOPPED


def test_a_plan_says_what_would_be_waited_for_and_knows_names() -> None:
    world = one_host()
    world.submit(replace(SPEC, name="train"))
    answer = plan_to_proto(world.state, after(("train", AfterWhen.FAILED)), "ann")
    assert (answer.nodes_placed, answer.waiting_for) == (0, "waits for j-1 (train) to fail")
    answer = plan_to_proto(world.state, replace(SPEC, schedule="0 2 * * *"), "ann")
    assert (answer.nodes_placed, answer.waiting_for) == (0, "waits for its time, by the schedule '0 2 * * *' in UTC")
    with pytest.raises(NotFound, match="there is no job 'tran'"):
        plan_to_proto(world.state, after(("tran", AfterWhen.OK)), "ann")


# ---------------------------------------------------------------- schedule


def nightly(world: World, **more: object) -> Job:
    return world.submit(replace(SPEC, name="nightly", schedule="0 2 * * *", **more))  # type: ignore[arg-type]


def test_a_scheduled_job_begins_at_its_time_and_is_followed_by_the_next() -> None:
    world = one_host()
    job = nightly(world)
    assert job.starts_at == MIDNIGHT + 2 * 3600
    assert "waits for its time, 2026-11-23 02:00 UTC" in explain.summary(world.state, job)
    world.advance(2 * 3600 - 10)
    assert world.held() == []
    world.advance(11)
    assert len(world.held(job.id)) == 1
    end(world, job, 1)
    following = world.job(world.state.names["nightly"])
    assert following.id != job.id
    assert (following.state, following.spec, following.user) == (JobState.QUEUED, job.spec, job.user)
    assert following.starts_at == MIDNIGHT + 26 * 3600


def test_runs_never_overlap_and_missed_times_run_once() -> None:
    world = one_host()
    job = nightly(world)
    world.asleep.add(next(iter(world.state.hosts)))
    # The coordinator was down for three nights.
    world.now += 3 * 86400
    world.restart()
    world.asleep.clear()
    world.open(next(iter(world.state.hosts)))
    assert len(world.held(job.id)) == 1
    world.advance(40 * 3600.0)
    assert [j.id for j in world.state.jobs.values()] == [job.id], "a second run while the first goes on"
    end(world, job)
    following = world.job(world.state.names["nightly"])
    now = world.now + world.wall_offset
    assert now < following.starts_at <= now + 86400


def test_a_stop_ends_the_series_whether_it_waits_or_runs() -> None:
    for run in (False, True):
        world = one_host()
        job = nightly(world)
        if run:
            world.advance(3 * 3600.0)
            world.start(job.id)
        world.post(StopRequested("nightly", "ann"))
        world.start(job.id)
        assert state(world, job) is JobState.STOPPED
        assert world.state.unfinished == {}


def test_a_stop_ends_the_series_also_when_the_run_ends_well_meanwhile() -> None:
    world = one_host()
    job = nightly(world)
    world.advance(3 * 3600.0)
    world.post(StopRequested("nightly", "ann"))
    end(world, job)
    assert state(world, job) is JobState.DONE
    assert world.state.unfinished == {}


def test_a_clock_that_is_set_forward_is_noticed_and_one_set_back_brings_no_time_twice() -> None:
    world = one_host()
    job = nightly(world)
    world.wall_offset += 7200.0
    world.advance(31.0)
    assert len(world.held(job.id)) == 1
    world.wall_offset -= 3600.0
    end(world, job)
    assert world.job(world.state.names["nightly"]).starts_at == MIDNIGHT + 26 * 3600


def test_a_scheduled_job_waits_for_others_once_its_time_has_come() -> None:
    world = one_host()
    train = world.submit(SPEC)
    job = nightly(world, after=(Dependency(train.id),))
    world.advance(3 * 3600.0)
    assert explain.summary(world.state, world.job(job.id)) == f"waits for {train.id} ({train.name}) to end well"
    end(world, train, 1)
    assert state(world, job) is JobState.FAILED
    # One failure a night, not as many as fit into a turn.
    assert len(world.state.jobs) == 3


def test_the_series_goes_on_after_a_restart() -> None:
    world = one_host()
    job = nightly(world)
    world.restart()
    world.open(next(iter(world.state.hosts)))
    assert world.held() == []
    world.advance(3 * 3600.0)
    assert len(world.held(job.id)) == 1


# ---------------------------------------------------------------- max_running


def test_no_more_nodes_hold_hosts_than_may_and_explain_says_so() -> None:
    world = one_host(cpus=16)
    job = world.submit(replace(SPEC, nodes=100, max_running=8))
    assert len(world.held(job.id)) == 8
    world.start(job.id)
    said = explain.summary(world.state, world.job(job.id))
    assert said.startswith("8 of 8 allowed nodes run; 92 wait"), said
    world.end(world.held(job.id)[0].id)
    assert len(world.held(job.id)) == 8
    while state(world, job) is not JobState.DONE:
        assert len(world.held(job.id)) == min(8, 100 - world.state.counts[job.id][NodeState.DONE])
        world.end(world.held(job.id)[-1].id)


def test_a_limit_lets_the_next_node_in_on_another_host_than_the_one_that_was_freed() -> None:
    world = one_host(cpus=1)
    other = world.add_host("two", hardware(1, prefix="two"))
    job = world.submit(replace(SPEC, nodes=3, max_running=1))
    (held,) = world.held(job.id)
    first = world.state.hosts[held.host_id]
    world.post(CordonRequested(first.name, cordoned=True))
    world.end(held.id)
    assert [a.host_id for a in world.held(job.id)] == [other.id if other.id != first.id else HostId("h-1")]
