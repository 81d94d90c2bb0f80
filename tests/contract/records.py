"""Hypothesis strategies for the coordinator's real records, by their type hints, and for sequences of changes."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from coordinator.access.changes import TokenStored, UserRemoved, UserStored
from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    AllocationUpdated,
    CostBooked,
    GangDissolved,
    GangUpdated,
    HealthUpdated,
    HostEventNoted,
    HostRemoved,
    HostUpdated,
    HostUpgradeUpdated,
    JobCreated,
    JobForgotten,
    JobUpdated,
    NodeUpdated,
    NumbersSkipped,
    RolloutUpdated,
    TimeServed,
)
from coordinator.core.costs import LedgerEntry
from coordinator.core.health_records import KEPT_EVENTS, HostEvent, HostHealth
from coordinator.core.ids import allocation_id, host_id, job_id
from coordinator.core.model import Allocation, Gang, Host, Job, Node
from coordinator.core.rollout import HostUpgrade, Rollout
from coordinator.store import LeaseGiven, StoredChange

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    types.NoneType: st.none(),
}
# What a job keeps for good. All else may change, also what is added later: it must then be stored with every change.
_SUBMITTED = ("id", "number", "name", "user", "request_id", "spec", "submitted_at")


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field with this hint may hold."""
    hint = getattr(hint, "__supertype__", hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in (Union, types.UnionType):
        return st.one_of([of_type(arg) for arg in args])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(of_type(args[0]), max_size=3).map(tuple)
    if origin is frozenset:
        return st.frozensets(of_type(args[0]))
    if origin is tuple:
        return st.tuples(*(of_type(arg) for arg in args))
    if origin is Mapping:
        return st.dictionaries(of_type(args[0]), of_type(args[1]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return record(hint)


def record(kind: type[Any], **fixed: Any) -> st.SearchStrategy[Any]:
    """Any record of a dataclass, with all its fields drawn, so that a field added later is covered too."""
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    drawn = {field.name: of_type(hints[field.name]) for field in fields(kind) if field.name not in fixed}
    return st.builds(kind, **drawn, **{name: st.just(value) for name, value in fixed.items()})


class _History:
    """Draws changes as an engine may make them: new ids are new, and a job's updates keep what was submitted."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._jobs: dict[int, Job] = {}
        self._events = 0
        self._attempts: dict[tuple[int, int], int] = {}

    def job_created(self) -> StoredChange:
        number = len(self._jobs) + 1
        self._jobs[number] = self._draw(record(Job, id=job_id(number), number=number))
        return JobCreated(self._jobs[number])

    def job_updated(self) -> StoredChange:
        if not self._jobs:
            return self.job_created()
        job = self._draw(st.sampled_from(list(self._jobs.values())))
        other = self._draw(record(Job))
        kept = {name: getattr(job, name) for name in _SUBMITTED}
        return JobUpdated(replace(other, **kept))

    def job_forgotten(self) -> StoredChange:
        return JobForgotten(job_id(self._number()))

    def node_updated(self) -> StoredChange:
        return NodeUpdated(self._draw(record(Node, job_id=job_id(self._number()), rank=self._rank())))

    def allocation_reserved(self) -> StoredChange:
        number, rank = self._number(), self._rank()
        attempt = self._attempts[number, rank] = self._attempts.get((number, rank), 0) + 1
        return AllocationReserved(self._allocation(number, rank, attempt))

    def allocation_updated(self) -> StoredChange:
        if not self._attempts:
            return self.allocation_reserved()
        (number, rank), attempt = self._draw(st.sampled_from(list(self._attempts.items())))
        return AllocationUpdated(self._allocation(number, rank, attempt))

    def allocation_freed(self) -> StoredChange:
        number, rank = self._number(), self._rank()
        return AllocationFreed(allocation_id(job_id(number), rank, self._attempts.get((number, rank), 1)))

    def gang_updated(self) -> StoredChange:
        return GangUpdated(self._draw(record(Gang, job_id=job_id(self._number()))))

    def gang_dissolved(self) -> StoredChange:
        return GangDissolved(job_id(self._number()))

    def host_updated(self) -> StoredChange:
        return HostUpdated(self._draw(record(Host, id=host_id(self._number()), queues=False, fenced="")))

    def host_removed(self) -> StoredChange:
        return HostRemoved(host_id(self._number()))

    def health_updated(self) -> StoredChange:
        return HealthUpdated(self._draw(record(HostHealth, host_id=host_id(self._number()))))

    def host_event_noted(self) -> StoredChange:
        self._events += self._draw(st.sampled_from([1, KEPT_EVENTS - 1]))
        return HostEventNoted(self._draw(record(HostEvent, number=self._events)))

    def rollout_updated(self) -> StoredChange:
        return RolloutUpdated(self._draw(record(Rollout, number=self._number())))

    def host_upgrade_updated(self) -> StoredChange:
        return HostUpgradeUpdated(self._draw(record(HostUpgrade, host_id=host_id(self._number()))))

    def cost_booked(self) -> StoredChange:
        day, user = f"2026-11-{self._number():02}", self._draw(TEXT)
        return CostBooked(self._draw(record(LedgerEntry, day=day, user=user)))

    def time_served(self) -> StoredChange:
        return TimeServed(self._draw(st.floats(0, 2.0**40)))

    def numbers_skipped(self) -> StoredChange:
        return NumbersSkipped(self._number(), self._number(), self._number())

    def lease_given(self) -> StoredChange:
        return LeaseGiven(self._draw(st.integers(1, 1 << 32)))

    def token_stored(self) -> StoredChange:
        return TokenStored(self._draw(record(JoinToken, id=f"t-{self._number()}")))

    def user_stored(self) -> StoredChange:
        return UserStored(self._draw(record(User, name=f"u-{self._number()}")))

    def user_removed(self) -> StoredChange:
        return UserRemoved(f"u-{self._number()}")

    def _number(self) -> int:
        return self._draw(st.integers(1, 3))

    def _rank(self) -> int:
        return self._draw(st.integers(0, 2))

    def _allocation(self, number: int, rank: int, attempt: int) -> Allocation:
        known = job_id(number)
        identity = {"job_id": known, "rank": rank, "attempt": attempt}
        held: Allocation = self._draw(record(Allocation, id=allocation_id(known, rank, attempt), **identity))
        return held


_STEPS = tuple(name for name in vars(_History) if not name.startswith("_"))


@st.composite
def histories(draw: st.DrawFn) -> list[list[StoredChange]]:
    """Commits: each a list of changes."""
    history = _History(draw)
    steps = draw(st.lists(st.lists(st.sampled_from(_STEPS), max_size=12), max_size=5))
    return [[getattr(history, step)() for step in commit] for commit in steps]
