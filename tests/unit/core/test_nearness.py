"""How far hosts are from a job's data: who is asked, how long is waited, how long an answer holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import explain, nearness
from coordinator.core.changes import HostUpdated
from coordinator.core.distances import DistanceMap
from coordinator.core.effects import DistancesWanted
from coordinator.core.events import CordonRequested, HostReported, PlanAsked
from coordinator.core.ids import HostId, host_id
from coordinator.core.model import Distance, Host, HostFacts, HostState
from coordinator.core.restore import carry_over
from coordinator.core.spec import JobSpec, Optimize, Placement
from tests.fakes.world import World, hardware

DATA = "data.example.org"
SPEC = JobSpec(argv=("x",), placement=Placement.ANY, near=DATA)


def asked(world: World) -> list[tuple[HostId, str]]:
    """Who was told to measure what, since it was last asked."""
    orders = [e for e in world.effects if isinstance(e, DistancesWanted)]
    world.effects = [e for e in world.effects if e not in orders]
    return [(order.host_id, target) for order in orders for target in order.targets]


def answer(world: World, host: Host, seconds: float | None = 0.02, reason: str = "", target: str = DATA) -> None:
    epoch = world.state.hosts[host.id].epoch
    said = Distance(host.id, target, seconds, reason)
    world.post(HostReported(host.id, epoch, distances=(said,)))


def test_a_job_is_placed_once_all_usable_hosts_have_answered() -> None:
    world = World()
    one, two, closed = (world.add_host(name) for name in ("one", "two", "closed"))
    world.post(CordonRequested("closed", cordoned=True))
    job = world.submit(SPEC)
    assert asked(world) == [(one.id, DATA), (two.id, DATA)]
    assert "waits for 2 host(s) to measure how near data.example.org" in explain.summary(world.state, job)
    answer(world, one, 0.02)
    assert not world.held(job.id)
    answer(world, two, None, "connection refused")
    assert len(world.held(job.id)) == 1
    assert nearness.seconds(world.state, one.id, DATA) == 0.02
    assert (nearness.seconds(world.state, two.id, DATA), nearness.failure(world.state, two.id, DATA)) == (
        None,
        "connection refused",
    )
    assert nearness.failure(world.state, closed.id, DATA) == ""


def test_hosts_that_do_not_answer_hold_a_job_up_for_two_seconds_and_their_answers_count_later() -> None:
    world = World()
    host = world.add_host("one")
    job = world.submit(SPEC)
    world.advance(nearness.PATIENCE - 0.1)
    assert not world.held(job.id)
    world.advance(0.2)
    assert len(world.held(job.id)) == 1
    assert nearness.failure(world.state, host.id, DATA) == "no answer in time"
    assert len(world.held(world.submit(SPEC).id)) == 1, "who did not answer once is not waited for again"
    answer(world, host, 1.5)
    assert nearness.seconds(world.state, host.id, DATA) == 1.5


def test_what_is_known_is_not_measured_again_but_what_failed_is() -> None:
    world = World()
    one, two = world.add_host("one"), world.add_host("two")
    world.submit(SPEC)
    answer(world, one)
    answer(world, two, None, "timed out")
    asked(world)
    second = world.submit(SPEC)
    assert asked(world) == [(two.id, DATA)]
    assert len(world.held(second.id)) == 1, "it waited for what had failed before"
    answer(world, two)
    third = world.submit(SPEC)
    assert asked(world) == []
    assert len(world.held(third.id)) == 1, "all is known: nothing is waited for"


def test_a_host_that_comes_online_measures_for_jobs_that_wait() -> None:
    world = World()
    world.submit(SPEC)
    assert not asked(world)
    late = world.add_host("late", hardware(cpus=0))
    world.post(HostReported(late.id, late.epoch))
    later = world.add_host("later", hardware(cpus=0))
    world.effects.clear()
    world.open(later.id)
    assert asked(world) == [(later.id, DATA)], "its first answer never came"
    answer(world, later)
    world.open(later.id)
    assert asked(world) == []


def test_a_plan_measures_too_and_old_measurements_are_forgotten() -> None:
    world = World()
    host = world.add_host("one")
    world.post(PlanAsked(DATA))
    assert nearness.measuring(world.state, DATA)
    assert asked(world) == [(host.id, DATA)]
    answer(world, host)
    assert not nearness.measuring(world.state, DATA)
    world.advance(nearness.FRESH + 10)
    assert nearness.seconds(world.state, host.id, DATA) is None
    assert asked(world) == []
    world.post(PlanAsked(DATA))
    assert asked(world) == [(host.id, DATA)]


def test_for_a_job_that_still_waits_it_is_measured_again_and_the_old_answer_holds_meanwhile() -> None:
    world = World()
    host = world.add_host("one", hardware(cpus=0))
    world.submit(SPEC)
    answer(world, host)
    asked(world)
    world.advance(nearness.FRESH + 10)
    assert asked(world) == [(host.id, DATA)]
    assert nearness.seconds(world.state, host.id, DATA) == 0.02


def test_each_job_goes_to_the_host_that_is_nearest_by_the_newest_measurement() -> None:
    world = World()
    one, two = world.add_host("one"), world.add_host("two")
    wanted = replace(SPEC, optimize=Optimize.LATENCY)
    for near, far in ((one, two), (two, one), (one, two)):
        job = world.submit(wanted)
        answer(world, near, 0.01)
        answer(world, far, 0.2)
        assert [a.host_id for a in world.held(job.id)] == [near.id]
        world.end(world.held(job.id)[0].id)
        world.advance(nearness.FRESH + 10)


@pytest.mark.parametrize("near", [None, DATA])
def test_the_next_job_that_asks_the_same_goes_where_it_is_nearest_by_then(near: str | None) -> None:
    world = World()
    one, two = world.add_host("one"), world.add_host("two")

    def measured(first: float, second: float) -> None:
        for host, seconds in ((one, first), (two, second)):
            if near is None:
                world.post(HostReported(host.id, host.epoch, round_trip=seconds))
            else:
                answer(world, host, seconds)

    wanted = replace(SPEC, optimize=Optimize.LATENCY, near=near)
    measured(0.01, 0.2)
    first = world.submit(wanted)
    measured(0.01, 0.2)
    for job, best, seconds in ((first, one, (0.01, 0.001)), (None, two, (0.0001, 0.001)), (None, one, (0.1, 0.1))):
        job = job or world.submit(wanted)
        (held,) = world.held(job.id)
        assert held.host_id == best.id
        measured(*seconds)


def test_an_answer_that_nobody_asked_for_is_dropped() -> None:
    world = World()
    host, other = world.add_host("one"), world.add_host("two")
    answer(world, host, target="nobody.asked")
    assert nearness.seconds(world.state, host.id, "nobody.asked") is None
    world.post(PlanAsked(DATA))
    said = Distance(other.id, DATA, 0.001)
    world.post(HostReported(host.id, host.epoch, distances=(said,)))
    assert nearness.seconds(world.state, other.id, DATA) is None, "a host speaks for itself alone"


def test_of_many_hosts_some_of_every_place_are_asked() -> None:
    world = World()
    for number in range(nearness.MAX_HOSTS + 5):
        world.state.apply(_online(number + 1, "big" if number < nearness.MAX_HOSTS + 2 else f"small-{number}"))
    world.post(PlanAsked(DATA))
    hosts = [host for host, _ in asked(world)]
    assert len(hosts) == len(set(hosts)) == nearness.MAX_HOSTS
    assert {world.state.hosts[h].facts.backend for h in hosts} == {h.facts.backend for h in world.state.hosts.values()}


def _online(number: int, backend: str) -> HostUpdated:

    return HostUpdated(Host(host_id(number), f"n{number}", HostFacts(backend), 0.0, state=HostState.ONLINE))


def test_a_failed_commit_forgets_no_distance() -> None:
    world = World()
    host = world.add_host("one")
    world.submit(SPEC)
    answer(world, host)
    half_done, held = world.state, world.held()
    world.restart()
    carry_over(half_done, world.state)
    assert nearness.seconds(world.state, host.id, DATA) == 0.02
    assert nearness.fresh_deadline(DATA) in world.state.deadlines
    assert world.held() == held


def test_round_trips_are_kept_and_small_changes_are_no_news() -> None:
    world = World()
    host = world.add_host("one")
    assert nearness.round_trip(world.state, host.id) is None
    for said, kept in ((0.020, 0.020), (0.021, 0.020), (0.0203, 0.020), (0.060, 0.060), (0.0001, 0.0001)):
        world.post(HostReported(host.id, host.epoch, round_trip=said))
        assert nearness.round_trip(world.state, host.id) == kept
    before = world.state.version
    world.post(HostReported(host.id, host.epoch, round_trip=0.0002))
    assert world.state.version == before


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_what_is_kept_is_bounded_and_the_oldest_question_goes_first(steps: list[tuple[int, bool]]) -> None:
    known, host, order = DistanceMap(most=3), HostId("h-1"), list[str]()
    for number, answered in steps:
        target = f"t{number}"
        known.ask(target, [host])
        if answered:
            known.record(Distance(host, target, 0.1))
        order = [*(t for t in order if t != target), target]
    assert [t for t in order if known.is_known(t)] == order[-3:]
