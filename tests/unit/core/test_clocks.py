"""Wall clocks that jump: durations go by the coordinator's own time, over its restarts too, and nothing reorders."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.decide import CLOCK_SECONDS
from coordinator.core.events import AllocationStatus, CordonRequested
from coordinator.core.ids import HostId
from coordinator.core.model import EndCause, HostState, JobState, Phase
from coordinator.core.spec import JobSpec, Placement, RetryEvent, RetryPolicy
from tests.fakes.world import World, hardware

DAY = 86_400.0
DURATION = 100.0
JUMPS = st.sampled_from([0.0, -DAY, DAY, -3600.0, 3600.0])
# Seconds that pass, a jump of the wall clock, and whether the coordinator is restarted then.
ROUNDS = st.lists(st.tuples(st.floats(1.0, 40.0), JUMPS, st.booleans()), min_size=1, max_size=12)


def restart(world: World) -> None:
    """Restart the coordinator just after something was written down."""
    world.post(CordonRequested("one", cordoned=False))
    world.restart()
    for host in list(world.state.hosts):
        world.open(host)


def waiting(event: RetryEvent) -> JobSpec:
    return JobSpec(
        argv=("x",), placement=Placement.ANY, retry=RetryPolicy(frozenset({event}), duration=DURATION, attempts=None)
    )


@given(ROUNDS)
def test_a_retry_lasts_its_duration_whatever_the_wall_clock_says(rounds: list[tuple[float, float, bool]]) -> None:
    world = World()
    world.add_host("one")
    job = world.submit(waiting(RetryEvent.ERROR))
    began: float | None = None
    restarts = 0
    for seconds, jump, dies in rounds:
        world.advance(seconds)
        world.wall_offset += jump
        for held in world.held(job.id):
            began = world.now if began is None else began
            world.end(held.id, 7)
            passed = world.now - began
            if world.job(job.id).state is JobState.FAILED:
                assert passed > DURATION
                return
            # A restart forgets what was not yet written down, and never the other way round.
            assert passed <= DURATION + restarts * CLOCK_SECONDS
        if dies:
            restart(world)
            restarts += 1


@given(ROUNDS)
def test_a_job_waits_for_capacity_as_long_as_it_said(rounds: list[tuple[float, float, bool]]) -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    world.submit(JobSpec(argv=("x",), placement=Placement.ANY))
    job = world.submit(waiting(RetryEvent.NO_CAPACITY))
    submitted, restarts = world.now, 0
    for seconds, jump, dies in rounds:
        world.wall_offset += jump
        world.advance(seconds)
        passed = world.now - submitted
        if world.job(job.id).state is JobState.FAILED:
            assert passed >= DURATION
            return
        assert passed < DURATION + restarts * CLOCK_SECONDS
        if dies:
            restart(world)
            restarts += 1


@given(st.lists(JUMPS, min_size=1, max_size=6))
def test_a_host_in_contact_stays_in_contact_and_is_seen(jumps: list[float]) -> None:
    world = World()
    host = world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=Placement.ANY))
    world.start(job.id)
    for jump in jumps:
        world.wall_offset += jump
        world.advance(20.0)
        seen = world.state.hosts[host.id]
        assert seen.state is HostState.ONLINE
        assert abs(world.now + world.wall_offset - seen.last_seen_at) <= world.state.timing.heartbeat + 1.0
    assert world.job(job.id).state is JobState.RUNNING


def test_a_silent_host_is_lost_on_time_while_the_wall_clock_stands_a_day_back() -> None:
    world = World()
    host = world.add_host("one")
    world.asleep.add(host.id)
    world.wall_offset -= DAY
    world.advance(world.state.timing.lost + 1.0)
    assert world.state.hosts[host.id].state is HostState.LOST


def test_the_first_of_two_failures_is_the_one_that_was_heard_of_first() -> None:
    """Not the one on the host whose clock is a day behind."""
    world = World()
    world.add_host("one", hardware(cpus=1))
    world.add_host("two", hardware(cpus=1))
    job = world.submit(JobSpec(argv=("x",), nodes=2, placement=Placement.ANY))
    world.start(job.id)
    first, second = world.held(job.id)
    for held, behind in ((first, 0.0), (second, DAY)):
        end = AllocationStatus(held.id, Phase.ENDED, 9, EndCause.EXIT, ended_at=world.now - behind)
        world.report(HostId(held.host_id), end)
        world.advance(1.0)
    assert "first node 0" in world.job(job.id).reason
