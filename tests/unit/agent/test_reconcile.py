"""`reconcile` over all combinations of wanted and observed, and the lease."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.core.lease import AFTER_REASON, ENDED_REASON, Lease, end_for, expired, renewed
from agent.core.model import AllocationId, Cause, Desired, Group, Observed, Phase, Spec, Wanted
from agent.core.reconcile import NO_RECORD, Action, End, Forget, Prepare, Start, Stop, next_end, reconcile

ID = AllocationId("j.0.1")
WANT = Desired(ID, "j", "n", 0, 1, Wanted.RUNNING, Spec(argv=("true",), stop_signal="INT"))
LIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)

desired = st.none() | st.builds(
    replace,
    st.just(WANT),
    phase=st.sampled_from(Wanted),
    started=st.booleans(),
    stop_grace=st.sampled_from((0.0, 5.0)),
    group=st.none() | st.just(Group(1, "10.0.0.1", 20000, ())),
)
observed = st.none() | st.builds(
    Observed,
    st.just(ID),
    st.sampled_from(Phase),
    acknowledged=st.booleans(),
    log_done=st.booleans(),
    stop_grace=st.sampled_from((0.0, 5.0)),
    after=st.sampled_from((0.0, 150.0, 500.0, None)),
)
leases = st.none() | st.just(Lease(100.0, 4.0))


def decide(want: Desired | None, have: Observed | None, lease: Lease | None = None, now: float = 0.0) -> list[Action]:
    wanted = {} if want is None else {ID: want}
    seen = {} if have is None else {ID: have}
    return reconcile([ID], wanted, seen, lease, now)


def after(action: Action, have: Observed | None) -> Observed | None:
    """What is observed when an action has been carried out."""
    match action:
        case Prepare():
            return Observed(ID, Phase.PREPARED)
        case Start():
            return Observed(ID, Phase.STARTING)
        case Stop(grace=grace):
            assert have is not None
            return replace(have, phase=Phase.STOPPING, stop_grace=grace)
        case End(cause=cause):
            return Observed(ID, Phase.ENDED, cause=cause, log_done=True)
        case Forget():
            return None


@given(desired, observed, leases, st.sampled_from((0.0, 200.0)))
def test_it_settles(want: Desired | None, have: Observed | None, lease: Lease | None, now: float) -> None:
    """Carrying out what is decided comes to rest: no action is asked for for ever."""
    for _ in range(6):
        actions = decide(want, have, lease, now)
        if not actions:
            return
        have = after(actions[0], have)
    raise AssertionError(f"still {actions}")


@given(desired, observed, leases, st.sampled_from((0.0, 200.0)))
def test_nothing_starts_twice_or_unwanted(
    want: Desired | None, have: Observed | None, lease: Lease | None, now: float
) -> None:
    for action in decide(want, have, lease, now):
        if isinstance(action, Prepare | Start):
            assert want is not None
            assert want.phase is not Wanted.STOPPED
            assert lease is None or not expired(lease, now)
            assert have is None or have.phase is Phase.PREPARED
        if isinstance(action, Prepare):
            assert not want.started
        if isinstance(action, Stop):
            assert have is not None
            assert have.phase in LIVE


@given(observed)
def test_what_is_not_wanted_any_more_ends(have: Observed | None) -> None:
    actions = decide(None, have)
    if have is not None and have.phase in (Phase.PREPARING, Phase.PREPARED):
        assert isinstance(actions[0], End)
    elif have is not None and have.phase in (Phase.STARTING, Phase.RUNNING):
        assert isinstance(actions[0], Stop)


@given(observed, leases, st.sampled_from((0.0, 200.0)))
def test_before_it_knows_what_is_wanted_only_the_lease_counts(
    have: Observed | None, lease: Lease | None, now: float
) -> None:
    actions = reconcile([ID], None, {} if have is None else {ID: have}, lease, now)
    if lease is None or not expired(lease, now):
        assert actions == []


def test_what_was_started_elsewhere_in_time_is_lost_not_repeated() -> None:
    assert decide(replace(WANT, started=True), None) == [End(ID, Cause.HOST, NO_RECORD)]


def test_a_record_goes_only_when_all_is_known() -> None:
    ended = Observed(ID, Phase.ENDED, acknowledged=True, log_done=True)
    assert decide(None, ended) == [Forget(ID)]
    assert decide(WANT, ended) == []
    assert decide(None, replace(ended, acknowledged=False)) == []
    assert decide(None, replace(ended, log_done=False)) == []


def test_a_stop_uses_the_orders_signal_then_the_specs() -> None:
    running = Observed(ID, Phase.RUNNING)
    stop = replace(WANT, phase=Wanted.STOPPED, stop_grace=7.0, stop_reason="asked to")
    assert decide(stop, running) == [Stop(ID, "INT", 7.0, Cause.STOPPED, "asked to")]
    assert decide(replace(stop, stop_signal="KILL"), running) == [Stop(ID, "KILL", 7.0, Cause.STOPPED, "asked to")]
    stopping = replace(running, phase=Phase.STOPPING, stop_grace=7.0)
    assert decide(stop, stopping) == []
    assert decide(replace(stop, stop_grace=0.0), stopping) == [Stop(ID, "INT", 0.0, Cause.STOPPED, "asked to")]


def test_the_end_of_the_lease_stops_within_the_shorter_grace() -> None:
    running = Observed(ID, Phase.RUNNING)
    lease = Lease(100.0, 4.0)
    assert decide(WANT, running, lease, 99.9) == []
    assert decide(WANT, running, lease, 100.0) == [Stop(ID, "INT", 4.0, Cause.HOST, ENDED_REASON)]
    hasty = replace(WANT, spec=replace(WANT.spec, stop_duration=1.0))
    assert decide(hasty, running, lease, 100.0) == [Stop(ID, "INT", 1.0, Cause.HOST, ENDED_REASON)]
    assert decide(WANT, None, lease, 100.0) == []


def test_what_is_kept_outlasts_the_lease_until_its_own_time() -> None:
    lease = Lease(100.0, 4.0, since=70.0)
    for_good, for_a_while = (Observed(ID, Phase.RUNNING, after=after) for after in (None, 50.0))
    assert decide(WANT, for_good, lease, 1e9) == []
    assert decide(WANT, for_a_while, lease, 119.9) == []
    assert decide(WANT, for_a_while, lease, 120.0) == [Stop(ID, "INT", 4.0, Cause.HOST, AFTER_REASON.format(50.0))]
    hasty = replace(for_a_while, after=20.0)
    assert decide(WANT, hasty, lease, 100.0) == [Stop(ID, "INT", 4.0, Cause.HOST, ENDED_REASON)]


def test_a_stop_wins_over_keeping() -> None:
    """Also an order that comes after the lease's end, before a new session."""
    lease, kept = Lease(100.0, 4.0, since=70.0), Observed(ID, Phase.RUNNING, after=None)
    stop = replace(WANT, phase=Wanted.STOPPED, stop_grace=7.0, stop_reason="asked to")
    assert decide(stop, kept, lease, 200.0) == [Stop(ID, "INT", 7.0, Cause.STOPPED, "asked to")]
    assert isinstance(decide(None, kept, lease, 200.0)[0], Stop)


@given(observed)
def test_nothing_kept_begins_without_a_lease(have: Observed | None) -> None:
    """Keeping is for what runs: what is only prepared ends, for the coordinator counts on that."""
    for action in decide(WANT, have, Lease(100.0, 4.0, since=70.0), 120.0):
        assert not isinstance(action, Prepare | Start)
        assert have is not None
        if have.phase in (Phase.PREPARING, Phase.PREPARED):
            assert isinstance(action, End)


def test_the_next_end_is_that_of_what_still_runs() -> None:
    lease = Lease(100.0, 4.0, since=70.0)
    seen = [Observed(ID, phase, after=after) for phase, after in ((Phase.RUNNING, None), (Phase.RUNNING, 90.0))]
    assert next_end([*seen, Observed(ID, Phase.ENDED, after=40.0)], lease, 101.0) == 160.0
    assert next_end(seen, lease, 160.0) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.none() | st.floats(0, 1e6))
def test_nothing_is_kept_for_less_than_the_lease(since: float, seconds: float, after: float | None) -> None:
    end = end_for(renewed(None, since, seconds, 1.0), after)
    assert (end is None) == (after is None)
    assert end is None or end >= max(since + seconds, since + (after or 0.0))


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 100))))
def test_a_lease_never_gets_shorter_and_counts_from_the_sending(answers: list[tuple[float, float]]) -> None:
    lease = None
    for sent_at, seconds in answers:
        before = lease
        lease = renewed(lease, sent_at, seconds, 1.0)
        assert lease.until >= sent_at + seconds or lease is before
        assert before is None or lease.until >= before.until
