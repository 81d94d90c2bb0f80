"""What a sequence of changes comes to: each record at most once, so that a commit writes only its last version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from coordinator.access.changes import TokenStored, UserRemoved, UserStored
from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    AllocationUpdated,
    CostBooked,
    GangDissolved,
    GangUpdated,
    HealthUpdated,
    HostEventNoted,
    HostRemoved,
    HostUpdated,
    HostUpgradeUpdated,
    JobCreated,
    JobForgotten,
    JobUpdated,
    NodeUpdated,
    NumbersSkipped,
    RolloutUpdated,
    TimeServed,
)
from coordinator.core.costs import LedgerEntry, LedgerKey
from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.model import Allocation, Gang, Host, Job, Node
from coordinator.core.rollout import HostUpgrade, Rollout
from coordinator.store.api import Counters, LeaseGiven, StoredChange


@dataclass(slots=True)
class Batch:
    """Removals come first when it is written, then what is stored; None stands for a removed record."""

    forgotten: set[JobId] = field(default_factory=set)
    created: dict[JobId, Job] = field(default_factory=dict)
    updated: dict[JobId, Job] = field(default_factory=dict)
    nodes: dict[JobId, dict[int, Node]] = field(default_factory=dict)
    allocations: dict[AllocationId, Allocation | None] = field(default_factory=dict)
    reserved: set[AllocationId] = field(default_factory=set)
    gangs: dict[JobId, Gang | None] = field(default_factory=dict)
    hosts: dict[HostId, Host | None] = field(default_factory=dict)
    costs: dict[LedgerKey, LedgerEntry] = field(default_factory=dict)
    health: dict[HostId, HostHealth | None] = field(default_factory=dict)
    events: list[HostEvent] = field(default_factory=list)
    rollouts: dict[int, Rollout] = field(default_factory=dict)
    host_upgrades: dict[HostId, HostUpgrade | None] = field(default_factory=dict)
    tokens: dict[str, JoinToken] = field(default_factory=dict)
    users: dict[str, User | None] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)


def fold(changes: Sequence[StoredChange]) -> Batch:
    """Reduce ``changes`` to their outcome. Raises TypeError for one that is not durable."""
    batch = Batch()
    for change in changes:
        handler = _HANDLERS.get(type(change))
        if handler is None:
            raise TypeError(f"{type(change).__name__} is not stored")
        handler(batch, change)
    return batch


def numbered(identifier: str) -> int:
    """The number in an id such as ``j-17``; 0 when there is none."""
    number = identifier.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _job_created(batch: Batch, change: JobCreated) -> None:
    batch.created[change.job.id] = change.job


def _job_updated(batch: Batch, change: JobUpdated) -> None:
    known = batch.created if change.job.id in batch.created else batch.updated
    known[change.job.id] = change.job


def _job_forgotten(batch: Batch, change: JobForgotten) -> None:
    batch.created.pop(change.id, None)
    batch.updated.pop(change.id, None)
    batch.nodes.pop(change.id, None)
    batch.forgotten.add(change.id)
    _reached(batch, jobs=numbered(change.id))


def _node_updated(batch: Batch, change: NodeUpdated) -> None:
    batch.nodes.setdefault(change.node.job_id, {})[change.node.rank] = change.node


def _allocation_reserved(batch: Batch, change: AllocationReserved) -> None:
    batch.reserved.add(change.allocation.id)
    batch.allocations[change.allocation.id] = change.allocation


def _allocation_updated(batch: Batch, change: AllocationUpdated) -> None:
    batch.allocations[change.allocation.id] = change.allocation


def _allocation_freed(batch: Batch, change: AllocationFreed) -> None:
    if change.id in batch.reserved:
        # Its id is new, so no row exists: a node that came and went within one commit costs nothing.
        batch.allocations.pop(change.id, None)
    else:
        batch.allocations[change.id] = None


def _gang_updated(batch: Batch, change: GangUpdated) -> None:
    batch.gangs[change.gang.job_id] = change.gang


def _gang_dissolved(batch: Batch, change: GangDissolved) -> None:
    batch.gangs[change.job_id] = None


def _host_updated(batch: Batch, change: HostUpdated) -> None:
    batch.hosts[change.host.id] = change.host


def _host_removed(batch: Batch, change: HostRemoved) -> None:
    batch.hosts[change.id] = None
    batch.health[change.id] = None
    batch.host_upgrades[change.id] = None
    _reached(batch, hosts=numbered(change.id))


def _health_updated(batch: Batch, change: HealthUpdated) -> None:
    batch.health[change.health.host_id] = change.health


def _host_event_noted(batch: Batch, change: HostEventNoted) -> None:
    batch.events.append(change.event)


def _rollout_updated(batch: Batch, change: RolloutUpdated) -> None:
    batch.rollouts[change.rollout.number] = change.rollout


def _host_upgrade_updated(batch: Batch, change: HostUpgradeUpdated) -> None:
    batch.host_upgrades[change.upgrade.host_id] = change.upgrade


def _numbers_skipped(batch: Batch, change: NumbersSkipped) -> None:
    _reached(batch, jobs=change.jobs, hosts=change.hosts, attempts=change.attempts)


def _cost_booked(batch: Batch, change: CostBooked) -> None:
    batch.costs[change.entry.key] = change.entry


def _time_served(batch: Batch, change: TimeServed) -> None:
    _reached(batch, served=int(change.seconds))


def _lease_given(batch: Batch, change: LeaseGiven) -> None:
    # The last one, not the longest: it is shortened once no longer one can run.
    batch.counters = replace(batch.counters, lease=change.seconds)


def _reached(batch: Batch, **counted: int) -> None:
    known = asdict(batch.counters)
    batch.counters = Counters(**{name: max(value, counted.get(name, 0)) for name, value in known.items()})


def _token_stored(batch: Batch, change: TokenStored) -> None:
    batch.tokens[change.token.id] = change.token


def _user_stored(batch: Batch, change: UserStored) -> None:
    batch.users[change.user.name] = change.user


def _user_removed(batch: Batch, change: UserRemoved) -> None:
    batch.users[change.name] = None


_HANDLERS: dict[type, Callable[[Batch, Any], None]] = {
    JobCreated: _job_created,
    JobUpdated: _job_updated,
    JobForgotten: _job_forgotten,
    NodeUpdated: _node_updated,
    AllocationReserved: _allocation_reserved,
    AllocationUpdated: _allocation_updated,
    AllocationFreed: _allocation_freed,
    GangUpdated: _gang_updated,
    GangDissolved: _gang_dissolved,
    HostUpdated: _host_updated,
    HostRemoved: _host_removed,
    HealthUpdated: _health_updated,
    HostEventNoted: _host_event_noted,
    RolloutUpdated: _rollout_updated,
    HostUpgradeUpdated: _host_upgrade_updated,
    CostBooked: _cost_booked,
    TimeServed: _time_served,
    NumbersSkipped: _numbers_skipped,
    LeaseGiven: _lease_given,
    TokenStored: _token_stored,
    UserStored: _user_stored,
    UserRemoved: _user_removed,
}
