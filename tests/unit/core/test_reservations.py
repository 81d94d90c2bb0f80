"""Reservations: small work never starves a gang and never puts off its start, and idle hosts are used meanwhile."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from coordinator.core import explain, soonest
from coordinator.core.events import CordonRequested, StopRequested
from coordinator.core.model import JobState
from coordinator.core.spec import JobSpec
from coordinator.rpc.planning import plan_to_proto
from tests.fakes.days import Days, spec


def test_a_gang_keeps_idle_hosts_from_work_of_unknown_length() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    gang = days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    assert days.start_of(gang) == 1100.0
    endless = days.submit(spec(1, None), 1e6)
    assert days.started(endless) is None
    days.until(1100.0)
    assert days.started(gang) == 1100.0
    days.until(1150.0)
    assert days.started(endless) == 1150.0


def test_who_is_held_back_is_told_for_whom_and_does_not_expect_to_start_at_once() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    gang = days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    endless, state = days.submit(spec(1, None), 1e6), days.world.state
    job, head = state.jobs[endless], state.jobs[gang]
    kept = f"kept for job {head.name} ({gang}, priority 0), expected to start in 1m40s"
    (free,) = [host.name for host in state.hosts.values() if not state.usage[host.id].cpus]
    said = explain.summary(state, job)
    assert said.startswith(f"waits though {free} would have room now, {kept}; what certainly ends before that")
    assert plan_to_proto(state, job.spec, "ann").waiting_for == said
    offers = {offer.host.name: (offer.nodes_now, offer.rejection) for offer in explain.offers(state, job.spec, job)}
    assert offers[free] == (0, kept)
    assert soonest.expected_start(state, job) == (100.0, True)
    assert soonest.expected_start(state, head) == (100.0, False)


def test_what_ends_in_time_is_placed_on_a_kept_host() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    gang = days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    short, late = days.submit(spec(1, 100.0), 90.0), days.submit(spec(1, 101.0), 1.0)
    assert days.started(short) == 1000.0
    assert days.started(late) is None
    days.until(1100.0)
    assert days.started(gang) == 1100.0


def test_what_the_gang_does_not_need_of_its_hosts_is_used_for_as_long_as_one_likes() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    gang = days.submit(spec(3, 50.0, nodes=2, gang=True), 50.0)
    beside, too_much = days.submit(spec(1, None), 1e6), days.submit(spec(1, None), 1e6)
    assert days.started(beside) == 1000.0
    assert days.started(too_much) is None
    days.until(1100.0)
    assert days.started(gang) == 1100.0


def test_gpus_beside_those_that_are_kept_are_used() -> None:
    days = Days()
    days.hosts(16, 16, gpus=8)
    days.submit(spec(1, 100.0, gpus=8), 100.0)
    gang = days.submit(spec(1, 50.0, nodes=2, gang=True, gpus=6), 50.0)
    beside, too_many = days.submit(spec(1, None, gpus=2), 1e6), days.submit(spec(1, None, gpus=1), 1e6)
    assert days.started(beside) == 1000.0
    assert days.started(too_many) is None
    days.until(1100.0)
    assert days.started(gang) == 1100.0


def test_hosts_that_nobody_needs_are_not_kept() -> None:
    days = Days()
    days.hosts(4, 4, 4)
    for _ in range(2):
        days.submit(spec(4, 100.0), 100.0)
    days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    # Two get free at once: the one that is idle is for others until then.
    assert days.started(days.submit(spec(4, None), 1e6)) == 1000.0


def test_a_large_node_is_not_starved_by_small_ones_that_fill_every_gap() -> None:
    days = Days()
    days.hosts(4)
    days.submit(spec(2, 100.0), 100.0)
    days.submit(spec(2, 50.0), 50.0)
    large = days.submit(spec(4, None), 10.0)
    small = [days.submit(spec(2, None), 30.0) for _ in range(20)]
    days.until(1100.0)
    assert days.started(large) == 1100.0
    assert all(days.started(job) is None for job in small)


def test_hosts_of_a_job_that_is_stopped_while_it_waits_are_open_at_once() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    gang = days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    endless = days.submit(spec(4, None), 1e6)
    assert days.started(endless) is None
    days.world.post(StopRequested(gang, "ann"))
    assert [a.job_id for a in days.world.held(endless)] == [endless]


def test_what_no_hosts_could_hold_keeps_none() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    wide = days.submit(spec(4, None, nodes=3, gang=True), 1.0)
    assert days.started(days.submit(spec(4, None), 1.0)) == 1000.0
    assert soonest.expected_start(days.world.state, days.world.job(wide)) is None


def test_a_gang_that_can_not_be_formed_any_more_keeps_nothing_from_others() -> None:
    days = Days()
    days.hosts(4, 4)
    days.submit(spec(4, 100.0), 100.0)
    days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    endless = days.submit(spec(4, None), 1e6)
    (busy,) = {a.host_id for a in days.world.held()}
    days.world.post(CordonRequested(busy, True))
    assert [a.job_id for a in days.world.held(endless)] == [endless]


def test_a_reservation_moves_to_hosts_that_are_free_sooner_and_away_from_those_that_are_not() -> None:
    days = Days()
    days.hosts(4, 4, 4)
    first, second = days.submit(spec(4, 100.0), 100.0), days.submit(spec(4, 200.0), 50.0)
    days.submit(spec(4, 300.0), 300.0)
    gang = days.submit(spec(4, 50.0, nodes=2, gang=True), 50.0)
    assert days.start_of(gang) == 1200.0
    (host,) = (a.host_id for a in days.world.held(first))
    days.until(1050.0)
    assert days.world.job(second).state is JobState.DONE
    assert days.start_of(gang) == 1100.0
    days.world.post(CordonRequested(host, True))
    assert days.start_of(gang) == 1300.0


def test_the_expected_start_is_known_from_max_duration_and_otherwise_an_estimate() -> None:
    days = Days()
    days.hosts(2, 2)
    known, unknown = days.submit(spec(2, 300.0), 300.0), days.submit(spec(2, None), 1e6)
    assert days.started(known) == days.started(unknown) == 1000.0
    days.until(1200.0)
    one, two = days.submit(spec(2, 10.0), 10.0), days.submit(spec(2, 10.0, nodes=2, gang=True), 10.0)
    state = days.world.state
    assert soonest.expected_start(state, days.world.job(one)) == (100.0, False)
    # The other one has run for 200 s, and is taken to be half through.
    assert soonest.expected_start(state, days.world.job(two)) == (200.0, True)


def test_jobs_of_many_nodes_tell_by_those_that_are_done_how_long_one_takes() -> None:
    days = Days()
    days.hosts(2)
    days.submit(spec(1, None, nodes=9), 40.0)
    days.until(1100.0)
    waiting = days.submit(spec(2, None), 1.0)
    # Each takes 40 s; at 1080 two began, and one job of two CPUs waits for both.
    seconds, estimated = soonest.expected_start(days.world.state, days.world.job(waiting)) or (0.0, False)
    assert (seconds, estimated) == (20.0, True)


small_work = st.builds(
    lambda cpus, most, share, nodes, gang, wait: (spec(cpus, most, nodes=nodes, gang=gang), share, wait),
    cpus=st.integers(1, 4),
    most=st.none() | st.sampled_from([5.0, 20.0, 60.0, 200.0]),
    share=st.floats(0.1, 1.0),
    nodes=st.integers(1, 2),
    gang=st.booleans(),
    wait=st.sampled_from([0.0, 0.0, 1.0, 10.0, 50.0]),
)


@settings(max_examples=60, deadline=None)
# Two ends at one moment: who was promised the host of the later one is not to look for room on that of the gang.
@example(cpus=[3, 2], before=[(2, 10.0, 1.0), (1, 10.0, 1.0), (2, 10.0, 1.0)], width=1, need=3, after=[])
# A host is thought to be free sooner than what is known, and then is not.
@example(
    cpus=[2, 3, 3, 3],
    before=[(1, 10.0, 1.0), (1, 150.0, 1.0), (1, 150.0, 0.5)],
    width=2,
    need=3,
    after=[(spec(1), 1.0, 0.0), (spec(1), 1.0, 0.0), (spec(2, nodes=2), 1.0, 0.0)],
)
@given(
    cpus=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    before=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([10.0, 40.0, 100.0, 150.0]), st.floats(0.1, 1.0))),
    width=st.integers(1, 4),
    need=st.integers(1, 6),
    after=st.lists(small_work, max_size=12),
)
def test_backfill_never_delays_the_gang_that_waits(
    cpus: list[int],
    before: list[tuple[int, float, float]],
    width: int,
    need: int,
    after: list[tuple[JobSpec, float, float]],
) -> None:
    """Of known length is what runs when the gang comes; nothing that comes later puts off its first promise."""
    days = Days()
    days.hosts(*cpus)
    for wanted, most, share in before:
        if wanted <= max(cpus):
            days.submit(spec(wanted, most), most * share)
    gang = days.submit(spec(need, None, nodes=width, gang=True), 10.0)
    promised = days.world.state.book.reservations.get(gang)
    if days.started(gang) is not None or promised is None or not promised.hosts:
        return
    for wanted, share, wait in after:
        days.until(days.world.now + wait)
        days.submit(wanted, (wanted.max_duration or 500.0) * share)
    days.until(promised.start.at)
    began = days.started(gang)
    assert began is not None
    assert began <= promised.start.at
