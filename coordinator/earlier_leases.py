"""Leases that a coordinator gave before this start, or another one that led: they may be longer than those given now.

A host that is away goes on for as long as it was told last. So how long hosts may go on is stored before the first one
is told so, and a coordinator that is given shorter times waits as long as before, until all old leases are over.
"""

from __future__ import annotations

import math
from dataclasses import replace

from coordinator.core.state import Timing
from coordinator.store.api import LeaseGiven


class EarlierLeases:
    """``timing`` is what to go by now: that of the settings, with a longer margin while an older lease may run."""

    def __init__(self, timing: Timing) -> None:
        self._own = timing
        self.timing = timing
        self._until: float | None = None

    def begin(self, stored: int, now: float) -> LeaseGiven | None:
        """Leases that end within ``stored`` seconds after ``now`` (monotonic) may be out; what to store before any is
        given, if anything."""
        longer = stored - self._own.lost
        if longer > 0:
            self.timing = replace(self._own, lease_margin=self._own.lease_margin + longer)
            self._until = now + stored
        needed = math.ceil(self._own.lost)
        return LeaseGiven(needed) if needed > stored else None

    def over(self, now: float) -> LeaseGiven | None:
        """What to store once no older lease can run any more; nothing before, and once it was ``ended``."""
        ended = self._until is not None and now >= self._until
        return LeaseGiven(math.ceil(self._own.lost)) if ended else None

    def ended(self) -> None:
        """It is stored: from now on only this coordinator's own leases count."""
        self._until, self.timing = None, self._own
