"""Budgets: a job is stopped when it has cost what its user is ready to pay.

What it costs grows evenly while its allocations stay the same, so the moment at which the budget is spent is known: it
is a deadline, worked out anew whenever the job's allocations change. All that a job holds counts: spares, and copies of
redundant nodes, too. What it costs from then until its processes are gone, at most its stop's grace, goes beyond it.
"""

from __future__ import annotations

from collections.abc import Collection

from coordinator.core.changes import DeadlineSet
from coordinator.core.costs import HOUR
from coordinator.core.ids import HostId
from coordinator.core.ledger import job_cost
from coordinator.core.limits import end_job
from coordinator.core.model import Job, JobState
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.words import format_duration, usd

# Of a job whose budget is spent; as timeout(1) has one for time.
EXIT_BUDGET = 123
# Sums of many small amounts are never quite exact.
_ROUNDING = 1e-9


def deadline(job: Job) -> str:
    """The key of the deadline at which the job's budget is spent."""
    return f"budget:{job.id}"


def settle(turn: Turn) -> None:
    """Stop the jobs whose budget is spent; of others whose allocations changed, set the moment when it will be."""
    metered, turn.state.metered = turn.state.metered, {}
    for job_id in metered:
        job = turn.state.jobs.get(job_id)
        if job is not None:
            check(turn, job)


def resume(turn: Turn) -> None:
    """The coordinator starts: have every budget looked at when it is spent, or at once if it is."""
    # Not now: what is decided in a start is not committed.
    metered, turn.state.metered = turn.state.metered, {}
    for job_id in metered:
        job = turn.state.jobs[job_id]
        an_hour = turn.state.meters[job_id].price
        if an_hour and job.spec.budget is not None and not job.state.ended:
            left = max(0.0, job.spec.budget - job_cost(turn.state, job))
            turn.record(DeadlineSet(deadline(job), turn.at.mono + left / an_hour * HOUR))


def check(turn: Turn, job: Job) -> None:
    """Stop the job if its budget is spent, else set the deadline by which it will be."""
    budget, key = job.spec.budget, deadline(job)
    if budget is None or job.state.ended or job.state is JobState.STOPPING:
        if key in turn.state.deadlines:
            turn.record(DeadlineSet(key, None))
        return
    left, an_hour = budget - job_cost(turn.state, job), turn.state.meters[job.id].price
    if left <= budget * _ROUNDING:
        turn.record(DeadlineSet(key, None))
        _stop(turn, job)
    elif an_hour or key in turn.state.deadlines:
        turn.record(DeadlineSet(key, turn.at.mono + left / an_hour * HOUR if an_hour else None))


def _stop(turn: Turn, job: Job) -> None:
    assert job.spec.budget is not None
    took = f" after {format_duration(turn.at.wall - job.started_at)}" if job.started_at else ""
    reason = f"its budget of {usd(job.spec.budget)} is spent: {usd(job_cost(turn.state, job))}{took}"
    end_job(turn, job, reason, EXIT_BUDGET)


def unreachable(state: State, budget: float | None, hosts: Collection[HostId]) -> str:
    """Why a budget can never be spent on these hosts, all that fit: none states a price. Empty: it can."""
    if budget is None or not hosts or any(state.hosts[host].facts.price_per_hour for host in hosts):
        return ""
    return f"no host that fits states a price: the budget of {usd(budget)} can't be reached"
