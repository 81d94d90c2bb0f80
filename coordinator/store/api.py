"""What the engine asks of a store, and how a store says no.

A store is used from one writer thread. What ``commit`` returned from is on disk: the process, or the machine, may die
in the next instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from coordinator.access.changes import AccessChange
from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core.changes import Durable
from coordinator.core.costs import LedgerEntry
from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.model import Allocation, Gang, Host, Job, Node
from coordinator.core.rollout import HostUpgrade, Rollout


@dataclass(frozen=True, slots=True)
class LeaseGiven:
    """From now on a host may go on for up to so many seconds after it was last heard of."""

    seconds: int


StoredChange = Durable | AccessChange | LeaseGiven


@dataclass(frozen=True, slots=True)
class Counters:
    """The highest numbers of jobs and hosts ever given, also to what was forgotten since: ids are never used again.

    0 is none yet. ``served``: the coordinator's own time, whole seconds, as last written down. ``attempts``: attempts
    are given higher numbers than this. ``lease``: the last ``LeaseGiven``.
    """

    jobs: int = 0
    hosts: int = 0
    served: int = 0
    attempts: int = 0
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that was committed. Jobs and hosts by number, nodes by job and rank, costs by day, user and backend,
    roll-outs by number, the rest by id or name.

    A job's pending ranks are not listed: they are those without a node.
    """

    jobs: tuple[Job, ...] = ()
    nodes: tuple[Node, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    gangs: tuple[Gang, ...] = ()
    hosts: tuple[Host, ...] = ()
    costs: tuple[LedgerEntry, ...] = ()
    health: tuple[HostHealth, ...] = ()
    events: tuple[HostEvent, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    host_upgrades: tuple[HostUpgrade, ...] = ()
    join_tokens: tuple[JoinToken, ...] = ()
    users: tuple[User, ...] = ()
    counters: Counters = Counters()


class Store(Protocol):
    """Durable records. Every method may raise StoreError; after one, the store holds what it held before the call."""

    def load(self) -> Loaded:
        """Everything that was committed so far."""
        ...

    def commit(self, changes: Sequence[StoredChange]) -> None:
        """Make all ``changes`` durable, in their order, or none of them.

        ``JobCreated`` and ``AllocationReserved`` carry ids that were never used before. ``JobUpdated`` carries the job
        as it was created but for its progress (state to preflight), so that the specification is not written again;
        it changes nothing when the job is not stored. Any other record is stored when first carried, and removing one
        that is not there is harmless. Raises StoreFull when the disk is: try again later; TypeError for a change that
        is not durable. Of ``HostEventNoted``, which are numbered one after the other, the last KEPT_EVENTS stay.
        """
        ...

    def close(self) -> None:
        """Let go of files and locks; harmless when repeated. The store is of no use afterwards."""
        ...


class StoreError(Exception):
    """The coordinator's database can't be used."""


class StoreBusy(StoreError):
    """Another coordinator has the data directory."""

    def __init__(self, directory: str, pid: int | None) -> None:
        """``pid`` is the other coordinator's process, None when it has not written it down yet."""
        holder = "another coordinator" if pid is None else f"another coordinator (pid {pid})"
        super().__init__(f"data directory {directory} is in use by {holder}; stop it or choose another --data-dir")
        self.pid = pid


class StoreFull(StoreError):
    """No space is left for the database; nothing was changed: free some, and repeat."""


class Deposed(StoreError):
    """Another coordinator leads on this database: this one may write nothing, and serves nobody, any more."""


class StoreTooNew(StoreError):
    """The database was written by a newer release; run that release, or restore an older backup."""
