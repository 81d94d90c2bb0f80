"""Cron expressions: against a calendar walked minute by minute, and the nonsense that is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.cron import FIELDS, Field, Wrong, next_after, parse_all

# So far the walk goes: longer than any schedule below rests.
WALKED_MINUTES = 3 * 24 * 60


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def words(field: Field) -> st.SearchStrategy[str]:
    """A field's text: ``*``, numbers, ranges, steps, lists of them."""
    numbers = st.integers(field.low, field.high)
    spans = st.tuples(numbers, numbers).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.integers(1, field.high)
    parts = st.one_of(
        st.just("*"),
        numbers.map(str),
        spans,
        st.builds("{}/{}".format, st.one_of(st.just("*"), spans, numbers.map(str)), steps),
    )
    return st.lists(parts, min_size=1, max_size=3).map(",".join)


def admitted(field: Field, word: str) -> set[int]:
    """The numbers that a field admits, read another way than the parser does: each number is asked."""
    high = 6 if field.name == "weekday" else field.high
    found = set()
    for part in word.split(","):
        span, _, step = part.partition("/")
        for number in range(field.low, field.high + 1):
            if span == "*":
                inside, first = number <= high, field.low
            elif "-" in span:
                first, last = map(int, span.split("-"))
                inside = first <= number <= last
            else:
                first = int(span)
                inside = number >= first if step else number == first
            if inside and (number - first) % int(step or 1) == 0:
                found.add(number % 7 if field.name == "weekday" else number)
    return found


@given(
    st.tuples(words(FIELDS[0]), words(FIELDS[1]), st.just("*"), st.just("*"), words(FIELDS[4])),
    st.integers(0, 4_000_000_000),
)
def test_the_next_time_is_the_first_that_a_walk_over_all_minutes_meets(parts: tuple[str, ...], now: int) -> None:
    found = next_after(" ".join(parts), now)
    minutes, hours, days, months, weekdays = (admitted(f, word) for f, word in zip(FIELDS, parts, strict=True))
    begin = now // 60 * 60 + 60
    for moment in range(begin, min(int(found) + 60, begin + WALKED_MINUTES * 60), 60):
        then = datetime.fromtimestamp(moment, UTC)
        right = then.minute in minutes and then.hour in hours and then.day in days and then.month in months
        right = right and then.isoweekday() % 7 in weekdays
        assert right == (moment == found), f"{then} for {parts}"


@given(st.tuples(words(FIELDS[2]), words(FIELDS[3]), words(FIELDS[4])), st.integers(0, 4_000_000_000))
def test_dates_and_weekdays_go_together_by_crons_own_rule(parts: tuple[str, str, str], now: int) -> None:
    expression = f"0 0 {' '.join(parts)}"
    days, months, weekdays = (admitted(f, word) for f, word in zip(FIELDS[2:], parts, strict=True))
    either = not parts[0].startswith("*") and not parts[2].startswith("*")
    longest = max(29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in months)
    if min(days) > longest and not either:
        with pytest.raises(Wrong, match="never comes"):
            next_after(expression, now)
        return
    found = next_after(expression, now)
    for moment in range(now // 86400 * 86400 + 86400, int(found) + 86400, 86400):
        then = datetime.fromtimestamp(moment, UTC)
        by_date, by_weekday = then.day in days, then.isoweekday() % 7 in weekdays
        right = then.month in months and (by_date or by_weekday if either else by_date and by_weekday)
        assert right == (moment == found), f"{then} for {expression}"


@pytest.mark.parametrize(
    ("expression", "now", "found"),
    [
        ("0 2 * * *", "2026-11-23T18:40:00", "2026-11-24T02:00:00"),
        ("40 18 * * *", "2026-11-23T18:40:00", "2026-11-24T18:40:00"),
        ("*/15 * * * *", "2026-11-23T18:40:59.9", "2026-11-23T18:45:00"),
        ("30 9 * * mon-fri", "2026-11-27T09:30:00", "2026-11-30T09:30:00"),
        ("0 0 1 JAN *", "2026-11-23T18:40:00", "2027-01-01T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 13 * 5", "2026-11-23T00:00:00", "2026-11-27T00:00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
        ("0 0 * * 7", "2026-11-23T00:00:00", "2026-11-29T00:00:00"),
        ("5/20 * * * *", "2026-11-23T18:40:00", "2026-11-23T18:45:00"),
    ],
)
def test_known_times(expression: str, now: str, found: str) -> None:
    assert next_after(expression, at(now)) == at(found)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("* * * *", "5 fields"),
        ("@daily", "5 fields"),
        ("60 * * * *", "'60' is no minute; it goes from 0 to 59"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day"),
        ("* * * foo *", "it goes from 1 to 12 or jan, feb"),
        ("* * * * 8", "no weekday"),
        ("*/0 * * * *", "a step is a whole number from 1 on"),
        ("*/-1 * * * *", "a step"),
        ("1,,2 * * * *", "no minute"),
        ("5-1 * * * *", "a range goes up"),
        ("- * * * *", "no minute"),
        ("² * * * *", "no minute"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 30-31 2,2 *", "never comes"),
    ],
)
def test_nonsense_is_refused_with_the_way_out(expression: str, said: str) -> None:
    with pytest.raises(Wrong, match="schedule") as wrong:
        next_after(expression, 0)
    assert said in str(wrong.value)


def test_of_several_the_first_that_comes() -> None:
    both = "0 2 * * *; 30 14 * * *"
    assert next_after(both, at("2026-11-23 03:00")) == at("2026-11-23 14:30")
    assert next_after(both, at("2026-11-23 14:30")) == at("2026-11-24 02:00")
    with pytest.raises(Wrong, match="'x' is not a cron expression"):
        parse_all("0 2 * * *; x")
