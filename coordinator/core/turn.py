"""One turn of the engine: decisions are recorded here, and each is applied at once, so that the next sees it.

Nobody outside sees the state before the turn is committed; if the commit fails the engine throws the state away and
loads it anew (docs/adr/0001-apply-then-commit.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.changes import AllocationFreed, Change
from coordinator.core.effects import Effect
from coordinator.core.model import Allocation, Instant, Job
from coordinator.core.state import State


@dataclass(frozen=True, slots=True)
class Freed:
    """An allocation that the turn has freed, to be charged for: its job as it was then, its host's backend."""

    allocation: Allocation
    job: Job
    backend: str


class Turn:
    """Collects the changes and effects of one turn. ``at`` is the moment it is decided for."""

    __slots__ = ("at", "changes", "effects", "freed", "state")

    def __init__(self, state: State, at: Instant) -> None:
        self.state = state
        state.at = at
        self.at = at
        self.changes: list[Change] = []
        self.effects: list[Effect] = []
        self.freed: list[Freed] = []

    def record(self, change: Change) -> None:
        """Decide a fact. Raises lifecycle.Forbidden when the table of transitions forbids it."""
        if isinstance(change, AllocationFreed):
            self._note_freed(self.state.allocations[change.id])
        self.state.apply(change)
        self.changes.append(change)

    def effect(self, effect: Effect) -> None:
        """Something to do once the turn is committed."""
        self.effects.append(effect)

    def _note_freed(self, allocation: Allocation) -> None:
        # Here, where nothing gets past: see ledger.book.
        state = self.state
        backend = state.hosts[allocation.host_id].facts.backend
        self.freed.append(Freed(allocation, state.jobs[allocation.job_id], backend))
