"""Building the state from stored records: the indexes are derived anew, nothing is decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from coordinator.core.apply.hosts import load_health
from coordinator.core.apply.jobs import load_node
from coordinator.core.changes import (
    AllocationReserved,
    CostBooked,
    DeadlineSet,
    GangUpdated,
    HostEventNoted,
    HostSeen,
    HostSilent,
    HostUpdated,
    HostUpgradeUpdated,
    JobCreated,
    RolloutUpdated,
)
from coordinator.core.costs import LedgerEntry
from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.leases import lease_deadline, probe_deadline
from coordinator.core.model import Allocation, Gang, Host, HostState, Job, Node
from coordinator.core.placement import HOLD
from coordinator.core.rollout import HostUpgrade, Rollout
from coordinator.core.state import State, Timing


@dataclass(frozen=True, slots=True)
class Records:
    """What was stored. The last numbers count what was forgotten too: ids are never used again."""

    jobs: Iterable[Job] = ()
    nodes: Iterable[Node] = ()
    allocations: Iterable[Allocation] = ()
    gangs: Iterable[Gang] = ()
    hosts: Iterable[Host] = ()
    costs: Iterable[LedgerEntry] = ()
    rollouts: Iterable[Rollout] = ()
    host_upgrades: Iterable[HostUpgrade] = ()
    health: Iterable[HostHealth] = ()
    events: Iterable[HostEvent] = ()
    last_job_number: int = 0
    last_host_number: int = 0
    served: float = 0.0
    attempt_floor: int = 0


def restore(records: Records, timing: Timing) -> State:
    """The state that the records describe, with every host out of contact until it calls."""
    state = State(timing)
    for host in records.hosts:
        state.apply(HostUpdated(replace(host, state=HostState.OFFLINE)))
    for health in records.health:
        load_health(state, health)
    for event in records.events:
        state.apply(HostEventNoted(event))
    for job in records.jobs:
        state.apply(JobCreated(job))
    for node in records.nodes:
        load_node(state, node)
    for gang in records.gangs:
        state.apply(GangUpdated(gang))
    for allocation in records.allocations:
        state.apply(AllocationReserved(allocation))
    for entry in records.costs:
        state.apply(CostBooked(entry))
    for rollout in records.rollouts:
        state.apply(RolloutUpdated(rollout))
    for upgrade in sorted(records.host_upgrades, key=lambda upgrade: upgrade.place):
        state.apply(HostUpgradeUpdated(upgrade))
    state.last_job_number = max(state.last_job_number, records.last_job_number)
    state.last_host_number = max(state.last_host_number, records.last_host_number)
    state.served = records.served
    state.attempt_floor = records.attempt_floor
    return state


def carry_over(old: State, new: State) -> None:
    """Keep what was never stored when stored records are read again: who is in contact, until when, and who reaches
    whom, how far they are. Sessions stay valid, because every order that was sent is on disk.

    ``new`` has just started. The failed turn may have used deadlines of ``old`` up, and set others for sessions that
    never were: only a host whose session stands keeps its own, every other has the fresh lease of a start.
    """
    new.reach = old.reach
    new.distances = old.distances
    for key, at in old.deadlines.items():
        if key.startswith(("near:", "fresh:")):
            new.apply(DeadlineSet(key, at))
    new.version = old.version + 1
    if HOLD in old.deadlines:
        new.apply(DeadlineSet(HOLD, old.deadlines[HOLD]))
    for host in tuple(new.hosts.values()):
        known = old.hosts.get(host.id)
        if known is None or known.epoch != host.epoch:
            continue
        lease, probe = lease_deadline(host.id), probe_deadline(host.id)
        if known.state is HostState.ONLINE and lease in old.deadlines:
            new.apply(HostSeen(replace(host, state=HostState.ONLINE, last_seen_at=known.last_seen_at)))
            new.apply(HostSilent(host.id, None))
            new.apply(DeadlineSet(lease, old.deadlines[lease]))
            # Used up by the failed turn: due again at once.
            new.apply(DeadlineSet(probe, old.deadlines.get(probe, 0.0)))
        elif known.state is HostState.OFFLINE:
            new.apply(HostSeen(replace(host, state=HostState.OFFLINE, last_seen_at=known.last_seen_at)))
