"""What was spent, by day, user and backend.

What an allocation cost is booked in the turn that frees it, and so committed with it: once, whoever dies when. It goes
to its job and to the ledger, which outlives jobs. What still runs is added by whoever looks.

Prices are paid for the coordinator's own time (``Instant.served``), which stands still while it is down: what ran
meanwhile is not charged, nor the last minute before a crash. Days are UTC; what was held over midnight counts for the
days that its time says, back from the moment at which it is booked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache

from coordinator.core.changes import CostBooked, JobUpdated
from coordinator.core.costs import HOUR, LedgerEntry, LedgerKey, cost, held_for
from coordinator.core.ids import JobId
from coordinator.core.model import Allocation, Instant, Job
from coordinator.core.spares import is_spare
from coordinator.core.state import State
from coordinator.core.turn import Turn

DAY = 86400.0
_EPOCH = date(1970, 1, 1)


class By(Enum):
    """What spending is added up by."""

    DAY = "day"
    USER = "user"
    BACKEND = "backend"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Spending:
    """Spending under one name: a day, user or backend, or a job's id. Of jobs only the ``usd`` are known."""

    name: str
    usd: float
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    attempts: int = 0


def book(turn: Turn) -> None:
    """Charge what the turn has freed to its jobs, and to the ledger."""
    freed, turn.freed = turn.freed, []
    spent: dict[JobId, float] = {}
    booked: dict[LedgerKey, LedgerEntry] = {}
    for held in freed:
        spent[held.job.id] = spent.get(held.job.id, 0.0) + cost(held.allocation, turn.at.served)
        for entry in charges(held.allocation, held.job, held.backend, turn.at):
            known = booked.get(entry.key) or turn.state.ledger.get(entry.key)
            booked[entry.key] = entry if known is None else added(known, entry)
    for job_id, usd in spent.items():
        # A job that ended may be forgotten in this very turn.
        job = turn.state.jobs.get(job_id)
        if usd and job is not None:
            turn.record(JobUpdated(replace(job, spent=job.spent + usd)))
    for entry in booked.values():
        turn.record(CostBooked(entry))


def charges(allocation: Allocation, job: Job, backend: str, at: Instant) -> Iterator[LedgerEntry]:
    """What the allocation cost until now, a day at a time, the last first: that is the one of the attempt."""
    # What only ever waited behind another one was no attempt.
    attempts = 0 if is_spare(job.spec, allocation) or not allocation.held_since else 1
    for day, seconds in _days(held_for(allocation, at.served), at.wall):
        yield LedgerEntry(
            day=day,
            user=job.user,
            backend=backend,
            usd=allocation.price * seconds / HOUR,
            gpu_seconds=len(allocation.gpus) * allocation.share * seconds,
            cpu_seconds=allocation.cpus * seconds,
            attempts=attempts,
        )
        attempts = 0


def added(one: LedgerEntry, other: LedgerEntry) -> LedgerEntry:
    """The sum of two entries of one day, user and backend."""
    return replace(
        one,
        usd=one.usd + other.usd,
        gpu_seconds=one.gpu_seconds + other.gpu_seconds,
        cpu_seconds=one.cpu_seconds + other.cpu_seconds,
        attempts=one.attempts + other.attempts,
    )


def _days(seconds: float, until: float) -> Iterator[tuple[str, float]]:
    """The days of so many seconds that end at the Unix second ``until``, the last first, with the part of each."""
    number = int(until // DAY)
    in_day = until - number * DAY
    while seconds > in_day:
        yield day_name(number), in_day
        seconds, number, in_day = seconds - in_day, number - 1, DAY
    yield day_name(number), seconds


@lru_cache(maxsize=64)
def day_name(number: int) -> str:
    """``2026-11-23`` for so many days since 1970."""
    return (_EPOCH + timedelta(days=number)).isoformat()


# ---------------------------------------------------------------- for readers


def job_cost(state: State, job: Job) -> float:
    """USD that the job cost until the moment at which the state is looked at, with what still runs."""
    return job.spent + state.meters[job.id].cost(state.at.served)


def standing(state: State) -> dict[LedgerKey, LedgerEntry]:
    """The ledger with what still runs, at the moment at which the state is looked at."""
    entries = dict(state.ledger)
    for allocation in state.allocations.values():
        job, host = state.jobs[allocation.job_id], state.hosts[allocation.host_id]
        for entry in charges(allocation, job, host.facts.backend, state.at):
            known = entries.get(entry.key)
            entries[entry.key] = entry if known is None else added(known, entry)
    return entries


def spending(state: State, by: By, since: float = 0.0, user: str = "") -> tuple[Spending, ...]:
    """What was spent from the day of the Unix second ``since`` on, of one ``user`` or (empty) of all.

    Days come in their order, everything else by what it cost, the dearest first. Jobs count whole, with what they cost
    before ``since`` too, unless they had ended by then.
    """
    if by is By.JOB:
        jobs = (job for job in state.jobs.values() if user in ("", job.user))
        found = [Spending(job.id, job_cost(state, job)) for job in jobs if not job.state.ended or job.ended_at >= since]
        return tuple(sorted((each for each in found if each.usd), key=lambda each: -each.usd))
    first = day_name(int(max(0.0, since) // DAY))
    totals: dict[str, LedgerEntry] = {}
    for entry in standing(state).values():
        if entry.day >= first and user in ("", entry.user):
            name = {By.DAY: entry.day, By.USER: entry.user, By.BACKEND: entry.backend}[by]
            totals[name] = added(totals[name], entry) if name in totals else entry
    found = [Spending(name, e.usd, e.gpu_seconds, e.cpu_seconds, e.attempts) for name, e in totals.items()]
    return tuple(sorted(found, key=lambda each: each.name if by is By.DAY else (-each.usd, each.name)))
