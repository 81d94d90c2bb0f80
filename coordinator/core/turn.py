"""One turn of the engine: decisions are recorded here, and each is applied at once, so that the next sees it.

Nobody outside sees the state before the turn is committed; if the commit fails the engine throws the state away and
loads it anew (docs/adr/0001-apply-then-commit.md).
"""

from __future__ import annotations

from coordinator.core.changes import Change
from coordinator.core.effects import Effect
from coordinator.core.model import Instant
from coordinator.core.state import State


class Turn:
    """Collects the changes and effects of one turn. ``at`` is the moment it is decided for."""

    __slots__ = ("at", "changes", "effects", "state")

    def __init__(self, state: State, at: Instant) -> None:
        self.state = state
        self.at = at
        self.changes: list[Change] = []
        self.effects: list[Effect] = []

    def record(self, change: Change) -> None:
        """Decide a fact. Raises lifecycle.Forbidden when the table of transitions forbids it."""
        self.state.apply(change)
        self.changes.append(change)

    def effect(self, effect: Effect) -> None:
        """Something to do once the turn is committed."""
        self.effects.append(effect)
