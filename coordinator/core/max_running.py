"""How many nodes of a job may hold hosts at once, where its user set a limit."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.core.model import Job, NodeState

_HOLDING = (NodeState.PLACED, NodeState.RUNNING, NodeState.STOPPING)


def room(job: Job, counts: Mapping[NodeState, int]) -> int:
    """How many of the job's pending nodes may be placed now, by the limit alone. ``counts`` are its nodes by state."""
    pending = counts[NodeState.PENDING]
    if job.spec.max_running is None:
        return pending
    return max(0, min(pending, job.spec.max_running - holding(counts)))


def holding(counts: Mapping[NodeState, int]) -> int:
    """How many of a job's nodes hold hosts."""
    return sum(counts[state] for state in _HOLDING)


def reached(job: Job, counts: Mapping[NodeState, int]) -> str:
    """That the limit is what the job's pending nodes wait for, with the numbers; empty when it is not."""
    if not counts[NodeState.PENDING] or room(job, counts):
        return ""
    held, limit = holding(counts), job.spec.max_running
    return f"{held} of {limit} allowed nodes run; {counts[NodeState.PENDING]} wait for one of them to end (max_running)"
