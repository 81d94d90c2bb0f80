"""A store in memory, held to the same contract as the real ones; what was committed outlives it, on its disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from coordinator.core.health_records import KEPT_EVENTS, HostEvent, HostHealth
from coordinator.core.model import Allocation, Gang, Host, Job, Node
from coordinator.core.rollout import HostUpgrade, Rollout
from coordinator.store import Counters, LeaseGiven, Loaded, StoredChange


@dataclass(slots=True)
class MemoryDisk:
    """All records by their key; open another ``MemoryStore`` on it to play a restart."""

    jobs: dict[str, Job] = field(default_factory=dict)
    nodes: dict[tuple[str, int], Node] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    gangs: dict[str, Gang] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    costs: dict[LedgerKey, LedgerEntry] = field(default_factory=dict)
    health: dict[str, HostHealth] = field(default_factory=dict)
    events: dict[int, HostEvent] = field(default_factory=dict)
    rollouts: dict[int, Rollout] = field(default_factory=dict)
    host_upgrades: dict[str, HostUpgrade] = field(default_factory=dict)
    tokens: dict[str, JoinToken] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    last_job: int = 0
    last_host: int = 0
    served: int = 0
    attempts: int = 0
    lease: int = 0


class MemoryStore:
    """A ``Store`` that applies one change after the other."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self._disk = disk or MemoryDisk()

    def load(self) -> Loaded:
        """See ``Store.load``."""
        disk = self._disk
        return Loaded(
            jobs=tuple(sorted(disk.jobs.values(), key=lambda job: job.number)),
            nodes=_by_key(disk.nodes),
            allocations=_by_key(disk.allocations),
            gangs=_by_key(disk.gangs),
            hosts=tuple(sorted(disk.hosts.values(), key=lambda host: _number(host.id))),
            costs=_by_key(disk.costs),
            health=_by_key(disk.health),
            events=_by_key(disk.events),
            rollouts=_by_key(disk.rollouts),
            host_upgrades=_by_key(disk.host_upgrades),
            join_tokens=_by_key(disk.tokens),
            users=_by_key(disk.users),
            counters=Counters(disk.last_job, disk.last_host, disk.served, disk.attempts, disk.lease),
        )

    def commit(self, changes: Sequence[StoredChange]) -> None:
        """See ``Store.commit``."""
        # Checked first: applying can't fail, so that this is all or nothing.
        for change in changes:
            if type(change) not in _APPLY:
                raise TypeError(f"{type(change).__name__} is not stored")
        for change in changes:
            _APPLY[type(change)](self._disk, change)

    def close(self) -> None:
        """See ``Store.close``."""


def _by_key(table: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(record for _, record in sorted(table.items()))


def _number(identifier: str) -> int:
    return int(identifier.split("-")[1])


def _job_created(disk: MemoryDisk, change: JobCreated) -> None:
    disk.jobs[change.job.id] = change.job
    disk.last_job = max(disk.last_job, change.job.number)


def _job_updated(disk: MemoryDisk, change: JobUpdated) -> None:
    if change.job.id in disk.jobs:
        disk.jobs[change.job.id] = change.job


def _job_forgotten(disk: MemoryDisk, change: JobForgotten) -> None:
    disk.jobs.pop(change.id, None)
    disk.last_job = max(disk.last_job, _number(change.id))
    for key in [key for key in disk.nodes if key[0] == change.id]:
        del disk.nodes[key]


def _node_updated(disk: MemoryDisk, change: NodeUpdated) -> None:
    disk.nodes[change.node.job_id, change.node.rank] = change.node


def _allocation_stored(disk: MemoryDisk, change: AllocationReserved | AllocationUpdated) -> None:
    disk.allocations[change.allocation.id] = change.allocation


def _allocation_freed(disk: MemoryDisk, change: AllocationFreed) -> None:
    disk.allocations.pop(change.id, None)


def _gang_updated(disk: MemoryDisk, change: GangUpdated) -> None:
    disk.gangs[change.gang.job_id] = change.gang


def _gang_dissolved(disk: MemoryDisk, change: GangDissolved) -> None:
    disk.gangs.pop(change.job_id, None)


def _host_updated(disk: MemoryDisk, change: HostUpdated) -> None:
    disk.hosts[change.host.id] = change.host
    disk.last_host = max(disk.last_host, _number(change.host.id))


def _host_removed(disk: MemoryDisk, change: HostRemoved) -> None:
    disk.hosts.pop(change.id, None)
    disk.health.pop(change.id, None)
    disk.host_upgrades.pop(change.id, None)
    disk.last_host = max(disk.last_host, _number(change.id))


def _cost_booked(disk: MemoryDisk, change: CostBooked) -> None:
    disk.costs[change.entry.key] = change.entry


def _time_served(disk: MemoryDisk, change: TimeServed) -> None:
    disk.served = max(disk.served, int(change.seconds))


def _health_updated(disk: MemoryDisk, change: HealthUpdated) -> None:
    disk.health[change.health.host_id] = change.health


def _host_event_noted(disk: MemoryDisk, change: HostEventNoted) -> None:
    disk.events[change.event.number] = change.event
    disk.events.pop(change.event.number - KEPT_EVENTS, None)


def _rollout_updated(disk: MemoryDisk, change: RolloutUpdated) -> None:
    disk.rollouts[change.rollout.number] = change.rollout


def _host_upgrade_updated(disk: MemoryDisk, change: HostUpgradeUpdated) -> None:
    disk.host_upgrades[change.upgrade.host_id] = change.upgrade


def _numbers_skipped(disk: MemoryDisk, change: NumbersSkipped) -> None:
    disk.last_job = max(disk.last_job, change.jobs)
    disk.last_host = max(disk.last_host, change.hosts)
    disk.attempts = max(disk.attempts, change.attempts)


def _lease_given(disk: MemoryDisk, change: LeaseGiven) -> None:
    disk.lease = change.seconds


def _token_stored(disk: MemoryDisk, change: TokenStored) -> None:
    disk.tokens[change.token.id] = change.token


def _user_stored(disk: MemoryDisk, change: UserStored) -> None:
    disk.users[change.user.name] = change.user


def _user_removed(disk: MemoryDisk, change: UserRemoved) -> None:
    disk.users.pop(change.name, None)


_APPLY: dict[type, Callable[[MemoryDisk, Any], None]] = {
    JobCreated: _job_created,
    JobUpdated: _job_updated,
    JobForgotten: _job_forgotten,
    NodeUpdated: _node_updated,
    AllocationReserved: _allocation_stored,
    AllocationUpdated: _allocation_stored,
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
