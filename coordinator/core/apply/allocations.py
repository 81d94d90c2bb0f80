"""Changes of allocations: what they hold, what they cost, and how many copies a node runs with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.core import lifecycle
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    AllocationUpdated,
    GpusIdle,
)
from coordinator.core.costs import Meter
from coordinator.core.ids import JobId
from coordinator.core.model import Allocation, NodeState

if TYPE_CHECKING:
    from coordinator.core.state import State


def count_copies(state: State, job_id: JobId, rank: int) -> None:
    """Whether the node runs with fewer copies than it may have."""
    short = state.short.get(job_id)
    if short is None:
        return
    node = state.nodes[job_id].get(rank)
    runs = node is not None and node.state in (NodeState.PLACED, NodeState.RUNNING)
    wanted = state.jobs[job_id].spec.redundancy - (node.copies_failed if node is not None else 0)
    if runs and len(state.copies.get((job_id, rank), ())) < wanted:
        short.add(rank)
    else:
        short.discard(rank)
    state.requeue(job_id)


def _allocation_reserved(state: State, change: AllocationReserved) -> None:
    allocation = change.allocation
    state.allocations[allocation.id] = allocation
    state.job_allocations[allocation.job_id].add(allocation.id)
    _meter(state, allocation.job_id).add(allocation)
    state.bill.add(allocation)
    if allocation.job_id in state.short:
        state.copies.setdefault((allocation.job_id, allocation.rank), set()).add(allocation.id)
        count_copies(state, allocation.job_id, allocation.rank)
    state.usage[allocation.host_id].allocations.add(allocation.id)
    if allocation.behind is None:
        _hold(state, allocation)
        state.chains.heads[allocation.id] = True
    else:
        state.chains.put(allocation)
    state.book.changed.add(allocation.host_id)
    if allocation.preempted_by:
        state.book.cede(allocation)


def _hold(state: State, allocation: Allocation) -> None:
    state.usage[allocation.host_id].hold(allocation)
    state.shares.count(state.jobs[allocation.job_id].user, allocation, 1)
    state.planning.taken.add((allocation.host_id,))


def _allocation_updated(state: State, change: AllocationUpdated) -> None:
    new = change.allocation
    old = state.allocations[new.id]
    lifecycle.check_phases((old.wanted, old.observed), (new.wanted, new.observed))
    if (new.price, new.held_since) != (old.price, old.held_since):
        for meter in (_meter(state, new.job_id), state.bill):
            meter.take(old)
            meter.add(new)
    state.allocations[new.id] = new
    if old.behind is not None and new.behind != old.behind:
        state.chains.take(old)
        if new.behind is None:
            _hold(state, new)
            state.chains.heads[new.id] = False
        else:
            state.chains.put(new)
    if old.wanted is not new.wanted:
        state.book.changed.add(new.host_id)
        if new.preempted_by:
            state.book.cede(new)


def _allocation_freed(state: State, change: AllocationFreed) -> None:
    allocation = state.allocations.pop(change.id)
    state.idle.pop(change.id, None)
    state.job_allocations[allocation.job_id].discard(allocation.id)
    _meter(state, allocation.job_id).take(allocation)
    state.bill.take(allocation)
    if allocation.job_id in state.short:
        _copy_freed(state, allocation)
    if allocation.preempted_by:
        state.book.ceded_is_free(allocation)
    job = state.jobs[allocation.job_id]
    if allocation.behind is None:
        state.usage[allocation.host_id].free(allocation)
        state.shares.count(job.user, allocation, -1)
    else:
        state.usage[allocation.host_id].allocations.discard(allocation.id)
        state.chains.take(allocation)
    state.host_changed(allocation.host_id)
    if (job.spec.spares and allocation.rank >= job.spec.nodes) or job.spec.max_running is not None:
        # Another one may stand ready already, or be let in on any host.
        state.fresh_jobs.add(job.id)


def _copy_freed(state: State, copy: Allocation) -> None:
    held = state.copies[copy.job_id, copy.rank]
    held.discard(copy.id)
    if not held:
        del state.copies[copy.job_id, copy.rank]
    # Another one may find room anywhere, not only where this one was.
    state.fresh_jobs.add(copy.job_id)
    count_copies(state, copy.job_id, copy.rank)


def _gpus_idle(state: State, change: GpusIdle) -> None:
    if change.idle is None:
        state.idle.pop(change.allocation_id, None)
    else:
        state.idle[change.allocation_id] = change.idle


def _meter(state: State, job_id: JobId) -> Meter:
    """What the job's allocations cost, which is about to change."""
    if state.jobs[job_id].spec.budget is not None:
        state.metered[job_id] = None
    return state.meters[job_id]


HANDLERS: dict[type, Callable[[State, Any], None]] = {
    AllocationReserved: _allocation_reserved,
    AllocationUpdated: _allocation_updated,
    AllocationFreed: _allocation_freed,
    GpusIdle: _gpus_idle,
}
