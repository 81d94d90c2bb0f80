"""What the calls of this host to the coordinator take."""

from __future__ import annotations

from collections import deque
from statistics import median

KEPT = 15


class RoundTrip:
    """The last calls that nobody had to work for: what waits for the coordinator's disk says nothing of the way."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=KEPT)

    def took(self, seconds: float) -> None:
        """A call with nothing to say was answered."""
        self._last.append(seconds)

    @property
    def seconds(self) -> float | None:
        """Their middle; None as long as there was none."""
        return median(self._last) if self._last else None
