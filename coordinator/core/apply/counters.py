"""Changes of what is counted and timed: costs, the coordinator's own time, numbers, deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.core.changes import (
    CostBooked,
    DeadlineSet,
    NumbersSkipped,
    TimeServed,
)

if TYPE_CHECKING:
    from coordinator.core.state import State


def _numbers_skipped(state: State, change: NumbersSkipped) -> None:
    state.last_job_number = max(state.last_job_number, change.jobs)
    state.last_host_number = max(state.last_host_number, change.hosts)
    state.attempt_floor = max(state.attempt_floor, change.attempts)


def _cost_booked(state: State, change: CostBooked) -> None:
    state.ledger[change.entry.key] = change.entry


def _time_served(state: State, change: TimeServed) -> None:
    state.served = change.seconds


def _deadline_set(state: State, change: DeadlineSet) -> None:
    if change.at is None:
        state.deadlines.pop(change.key, None)
    else:
        state.deadlines[change.key] = change.at


HANDLERS: dict[type, Callable[[State, Any], None]] = {
    NumbersSkipped: _numbers_skipped,
    CostBooked: _cost_booked,
    TimeServed: _time_served,
    DeadlineSet: _deadline_set,
}
