"""Cron expressions, in UTC: five fields, and the next minute that all of them admit. ``;`` divides several.

A day is right when its date and its weekday are; when neither field begins with ``*``, one of the two is enough, as
cron has always had it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

# From one 29 February to the next it may be eight years: 2096 to 2104.
_FURTHEST_DAYS = 366 * 8 + 1

_MONTHS = {name: at for at, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
_WEEKDAYS = {name: at for at, name in enumerate("sun mon tue wed thu fri sat".split())}


class Wrong(ValueError):
    """The expression is none, or names a day that never comes; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its name, the least and greatest number, and names for numbers."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]


FIELDS = (
    Field("minute", 0, 59, {}),
    Field("hour", 0, 23, {}),
    Field("day", 1, 31, {}),
    Field("month", 1, 12, _MONTHS),
    # 7 is Sunday, too.
    Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """What an expression admits, sorted. ``either``: the date or the weekday is enough."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def admits(self, day: date) -> bool:
        """Whether the day is one of its days."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either else by_date and by_weekday


@lru_cache(maxsize=1024)
def parse(expression: str) -> Cron:
    """Read an expression. Raises ``Wrong``."""
    words = expression.lower().split()
    if len(words) != len(FIELDS):
        raise Wrong(
            f"schedule {expression!r} is not a cron expression; it has 5 fields: minute hour day month weekday, in UTC;"
            " write for example '0 2 * * *'"
        )
    minutes, hours, days, months, weekdays = (
        _numbers(expression, field, word) for field, word in zip(FIELDS, words, strict=True)
    )
    cron = Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(number % 7 for number in weekdays),
        either=not (words[2].startswith("*") or words[4].startswith("*")),
    )
    # From a leap year's first day on, every date comes within the next eight years.
    if _next_day(cron, date(2000, 1, 1)) is None:
        raise Wrong(f"schedule {expression!r} never comes: no month of it has such a day; correct day or month")
    return cron


def parse_all(schedule: str) -> tuple[Cron, ...]:
    """Read one or several expressions. Raises ``Wrong``."""
    return tuple(parse(expression.strip()) for expression in schedule.split(";"))


def next_after(schedule: str, unix_seconds: float) -> float:
    """The first time of any of the expressions after a moment, both in Unix seconds. Raises ``Wrong``."""
    return min(_next_after(cron, unix_seconds) for cron in parse_all(schedule))


def _next_after(cron: Cron, unix_seconds: float) -> float:
    now = datetime.fromtimestamp(unix_seconds // 60 * 60, UTC)
    today = now.date()
    if cron.admits(today):
        for hour in cron.hours:
            for minute in cron.minutes:
                if (hour, minute) > (now.hour, now.minute):
                    return _moment(today, hour, minute)
    day = _next_day(cron, today + timedelta(days=1))
    assert day is not None  # parse found one, and the calendar repeats
    return _moment(day, cron.hours[0], cron.minutes[0])


def _moment(day: date, hour: int, minute: int) -> float:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp()


def _next_day(cron: Cron, day: date) -> date | None:
    for ahead in range(_FURTHEST_DAYS):
        found = day + timedelta(days=ahead)
        if cron.admits(found):
            return found
    return None


def _numbers(expression: str, field: Field, word: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise _wrong(expression, field, part, "a step is a whole number from 1 on, as in */15")
        first, last = _span(expression, field, span, part, stepped=bool(slash))
        found.update(range(first, last + 1, int(step) if slash else 1))
    return found


def _span(expression: str, field: Field, span: str, part: str, *, stepped: bool) -> tuple[int, int]:
    if span == "*":
        # Not both 0 and 7 for Sunday: */2 is every other day from Sunday on.
        return field.low, 6 if field.name == "weekday" else field.high
    low, dash, high = span.partition("-")
    first = _number(expression, field, low, part)
    if dash:
        last = _number(expression, field, high, part)
        if last < first:
            raise _wrong(expression, field, part, "a range goes up; write it as two, separated by a comma")
        return first, last
    return first, field.high if stepped else first


def _number(expression: str, field: Field, text: str, part: str) -> int:
    number = field.names.get(text)
    if number is None and text.isascii() and text.isdigit():
        number = int(text)
    if number is None or not field.low <= number <= field.high:
        names = f" or {', '.join(field.names)}" if field.names else ""
        raise _wrong(expression, field, part, f"it goes from {field.low} to {field.high}{names}")
    return number


def _wrong(expression: str, field: Field, part: str, why: str) -> Wrong:
    return Wrong(f"schedule {expression!r}: {part!r} is no {field.name}; {why}")
