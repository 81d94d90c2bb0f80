"""A preflight that is under way: which step of it, what was found so far. In memory only (see ``preflight``)."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.ids import JobId
from coordinator.core.measured import Device, Link
from coordinator.core.model import Group
from coordinator.core.pairings import Rounds
from coordinator.core.spec import PreflightPolicy


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why nothing was measured on a host; ``unable``: it can't be there, which says nothing against the host."""

    host: str
    problem: str
    unable: bool


@dataclass(frozen=True, slots=True)
class Measuring:
    """Step ``number`` (from 1 on) of measuring ``group``; the ``awaited`` ranks have not answered yet. ``unmeasured``:
    hosts whose GPUs, or all-reduce, were not measured.

    The steps are the ``rounds`` of pairs and then, where ``together``, one of all members.
    """

    job_id: JobId
    policy: PreflightPolicy
    group: Group
    rounds: Rounds
    number: int = 0
    awaited: frozenset[int] = frozenset()
    links: tuple[Link, ...] = ()
    devices: tuple[Device, ...] = ()
    all_reduces: tuple[float, ...] = ()
    together: bool = False
    unmeasured: tuple[Unmeasured, ...] = ()

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.rounds) + self.together

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The pairs of ranks that measure now; none in the step of all members together."""
        return self.rounds[self.number - 1] if 0 < self.number <= len(self.rounds) else ()

    def peer_of(self, rank: int) -> int | None:
        """The rank that this one measures with now."""
        return next((a + b - rank for a, b in self.pairs if rank in (a, b)), None)
