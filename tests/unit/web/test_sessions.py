"""Sessions end when they should, and guessing is slowed."""

from __future__ import annotations

from coordinator.web.sessions import Brake, Sessions


def test_a_session_gives_back_its_token_until_it_ends() -> None:
    sessions = Sessions(lifetime=10)
    key = sessions.open("token-1", now=100.0)
    assert sessions.token(key, now=109.9) == "token-1"
    assert sessions.token(key, now=110.0) is None
    assert sessions.token("another", now=100.0) is None


def test_a_closed_session_is_gone_and_closing_twice_is_harmless() -> None:
    sessions = Sessions()
    key = sessions.open("token-1", now=0.0)
    sessions.close(key)
    sessions.close(key)
    assert sessions.token(key, now=0.0) is None


def test_the_oldest_session_ends_when_there_are_too_many() -> None:
    sessions = Sessions(limit=2)
    first, second, third = (sessions.open(f"token-{n}", now=float(n)) for n in range(3))
    assert sessions.token(first, now=3.0) is None
    assert sessions.token(second, now=3.0) == "token-1"
    assert sessions.token(third, now=3.0) == "token-2"


def test_ended_sessions_do_not_count_as_open() -> None:
    sessions = Sessions(lifetime=5, limit=2)
    sessions.open("token-0", now=0.0)
    kept = sessions.open("token-1", now=4.0)
    sessions.open("token-2", now=6.0)
    assert sessions.token(kept, now=6.0) == "token-1"


def test_the_brake_holds_after_the_last_allowed_failure_until_the_window_ends() -> None:
    brake = Brake(failures=2, window=60)
    brake.failed("a", now=0.0)
    assert brake.wait("a", now=1.0) == 0
    brake.failed("a", now=1.0)
    assert brake.wait("a", now=1.5) == 59
    assert brake.wait("b", now=1.5) == 0
    assert brake.wait("a", now=60.0) == 0


def test_the_brake_counts_anew_after_a_window_and_keeps_a_bounded_number_of_keys() -> None:
    brake = Brake(failures=1, window=60, limit=2)
    for name in ("a", "b", "c"):
        brake.failed(name, now=0.0)
    assert [brake.wait(name, now=1.0) > 0 for name in ("a", "b", "c")] == [False, True, True]
    assert brake.wait("c", now=61.0) == 0
