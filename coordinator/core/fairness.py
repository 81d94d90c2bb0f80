"""Fair shares: how much of the fleet each user holds, and has held of late. Who has less comes first.

A user's share is the dominant one: the largest of the fractions of the fleet's CPUs, memory and GPUs that the user's
jobs hold. To it is added what was held of late, as an average that forgets half of it in each ``HALF_LIFE``: whoever
had the fleet for an hour waits a little for who did not. It is kept in memory only; a restart forgets it.
"""

from __future__ import annotations

from coordinator.core.hardware import Hardware
from coordinator.core.model import Allocation

# Seconds of served time.
HALF_LIFE = 3600.0


class Shares:
    """What the fleet has, and what each user holds of it: (CPUs, bytes of memory, GPUs) each."""

    __slots__ = ("_changed", "_fleet", "_held", "_recent")

    def __init__(self) -> None:
        self._fleet = [0, 0, 0]
        self._held: dict[str, list[float]] = {}
        # What each user held of late, when (served seconds) that was brought up to date, and the share held since.
        self._recent: dict[str, tuple[float, float, float]] = {}
        self._changed: dict[str, None] = {}

    def refit(self, old: Hardware | None, new: Hardware | None) -> None:
        """A host's hardware is other than before; None: it has none."""
        for hardware, sign in ((old, -1), (new, 1)):
            if hardware is not None:
                for place, size in enumerate((hardware.cpus, hardware.memory_bytes, len(hardware.gpus))):
                    self._fleet[place] += sign * size

    def count(self, user: str, allocation: Allocation, sign: int) -> None:
        """The user holds an allocation (``sign`` 1), or does not any more (-1)."""
        held = self._held.get(user)
        if held is None:
            held = self._held[user] = [0.0, 0.0, 0.0]
        held[0] += sign * allocation.cpus
        held[1] += sign * allocation.memory_bytes
        held[2] += sign * len(allocation.gpus) * allocation.share
        self._changed[user] = None

    def held(self, user: str) -> float:
        """The fraction of the fleet that the user holds now, of what there is of it the least left of."""
        held = self._held.get(user)
        if held is None:
            return 0.0
        cpus, memory, gpus = self._fleet
        return max(
            held[0] / cpus if cpus > 0 else 0.0,
            held[1] / memory if memory > 0 else 0.0,
            held[2] / gpus if gpus > 0 else 0.0,
        )

    def key(self, user: str, now: float) -> float:
        """Whose turn it is: the least first. ``now`` in served seconds."""
        # Parts of GPUs do not quite add up: what differs by less than that is equal.
        return round(self.held(user) + self.recent(user, now), 9)

    def recent(self, user: str, now: float) -> float:
        """The share that the user held of late, as of ``now`` (served seconds)."""
        known = self._recent.get(user)
        if known is None:
            return 0.0
        value, since, share = known
        left: float = 0.5 ** (max(0.0, now - since) / HALF_LIFE)
        return value * left + share * (1.0 - left)

    def settle(self, now: float) -> None:
        """Take note of what users hold from ``now`` (served seconds) on."""
        for user in self._changed:
            self._recent[user] = (self.recent(user, now), now, self.held(user))
        self._changed.clear()
