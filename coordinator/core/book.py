"""The book of reservations: what is kept for whom, and what it was worked out from. In memory only, made anew at need.

``reservations`` writes it; ``state`` only notes what has changed, so that a turn costs what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordinator.core.ids import AllocationId, HostId, JobId

if TYPE_CHECKING:
    from coordinator.core.fit import Match, Need
    from coordinator.core.model import Allocation


@dataclass(frozen=True, slots=True, order=True)
class Expected:
    """A moment (served seconds). ``estimated``: it may be later, for something has no ``max_duration``."""

    at: float
    estimated: bool = False

    def known_by(self, moment: float) -> bool:
        """Whether it is certain to be at that moment or before."""
        return not self.estimated and self.at <= moment


# Earlier than every moment.
FREE = Expected(0.0)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Hosts on each of which one node of the job is to have room from ``start`` on; none: nobody knows where."""

    job_id: JobId
    hosts: tuple[HostId, ...]
    start: Expected


@dataclass(slots=True)
class FreeTimes:
    """When each host could hold one node of a kind; hosts that never could are left out.

    ``missing`` are those that are to be looked at (again), ``matches`` how hardware of each shape answers the need.
    """

    times: dict[HostId, Expected] = field(default_factory=dict)
    missing: dict[HostId, None] = field(default_factory=dict)
    matches: dict[int, Match] = field(default_factory=dict)


@dataclass(slots=True)
class Book:
    """``at`` is the served time of the last plan, which may look at so many more hosts (``looks``); ``behind`` is
    whether it had not looked at all that it should yet."""

    reservations: dict[JobId, Reservation] = field(default_factory=dict)
    # Hosts that changed since a reservation was last checked.
    stale: dict[JobId, set[HostId]] = field(default_factory=dict)
    free: dict[Need, FreeTimes] = field(default_factory=dict)
    changed: set[HostId] = field(default_factory=set)
    at: float = 0.0
    looks: int = 0
    behind: bool = False
    # What ends so that each job may take its place: see preempt. And when a search for more is due again.
    ceded: dict[JobId, dict[AllocationId, HostId]] = field(default_factory=dict)
    retry_at: dict[JobId, float] = field(default_factory=dict)
    _typical: dict[JobId, tuple[int, float | None]] = field(default_factory=dict)

    def typical(self, job: JobId, done: int, measure: Callable[[], float | None]) -> float | None:
        """The typical duration of the job's nodes, of which ``done`` are; measured again when many more are."""
        if not done:
            return None
        known = self._typical.get(job)
        if known is None or done > known[0] * 1.5:
            known = self._typical[job] = (done, measure())
        return known[1]

    def begin(self, now: float, looks: int) -> None:
        """A turn begins, at ``now``, that may look at so many hosts."""
        self.at, self.looks, self.behind = now, looks, False

    def keep(self, made: dict[JobId, Reservation], needs: Iterable[Need]) -> None:
        """These are the reservations from now on, worked out for these kinds of nodes; all else is dropped."""
        self.reservations = made
        self.free = {need: self.free[need] for need in needs}
        self.stale = {job: self.stale[job] for job in made}

    def take_over(self, other: Book, jobs: Container[JobId]) -> None:
        """What the ``other`` book keeps for these jobs is kept in this one too, as it was worked out."""
        self.reservations = {job: found for job, found in other.reservations.items() if job in jobs}
        self.stale = {job: set(other.stale[job]) for job in self.reservations}
        self.free = {need: FreeTimes(dict(at.times), dict(at.missing)) for need, at in other.free.items()}
        self.changed = set(other.changed)

    def forget(self, job: JobId) -> tuple[HostId, ...]:
        """The job waits no longer; the hosts that were kept for it."""
        self.stale.pop(job, None)
        self._typical.pop(job, None)
        self.retry_at.pop(job, None)
        found = self.reservations.pop(job, None)
        return () if found is None else found.hosts

    def cede(self, allocation: Allocation) -> None:
        """The allocation makes place for the job that it is preempted by."""
        self.ceded.setdefault(JobId(allocation.preempted_by), {})[allocation.id] = allocation.host_id

    def ceded_is_free(self, allocation: Allocation) -> None:
        """It has made place."""
        winner = JobId(allocation.preempted_by)
        left = self.ceded.get(winner, {})
        left.pop(allocation.id, None)
        if not left:
            self.ceded.pop(winner, None)

    def take_changes(self) -> None:
        """Note for everything that was worked out which hosts have changed since."""
        changed = sorted(self.changed)
        self.changed.clear()
        for stale in self.stale.values():
            stale.update(changed)
        for known in self.free.values():
            known.missing.update(dict.fromkeys(changed))
