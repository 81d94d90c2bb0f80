"""Changes of hosts: what they are and have, how they stand, and what was seen of the ways between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.core import lifecycle
from coordinator.core.changes import (
    DistancesAsked,
    DistancesDropped,
    DistanceSeen,
    DistancesLate,
    HealthUpdated,
    HostEventNoted,
    HostRemoved,
    HostSeen,
    HostSilent,
    HostUpdated,
    HostUpgradeUpdated,
    ReachSeen,
    RolloutUpdated,
    RoundTripSeen,
)
from coordinator.core.health_marks import marked
from coordinator.core.health_records import Health, HostHealth
from coordinator.core.ids import HostId
from coordinator.core.links import link_of
from coordinator.core.model import Host
from coordinator.core.usage import Usage

if TYPE_CHECKING:
    from coordinator.core.state import State


def _host_updated(state: State, change: HostUpdated) -> None:
    host = marked(change.host, state.health.get(change.host.id))
    known = state.hosts.get(host.id)
    state.shares.refit(None if known is None else known.hardware, host.hardware)
    state.hosts[host.id] = host
    state.links[host.id] = link_of(host)
    state.usage.setdefault(host.id, Usage()).version += 1
    _touch_jobs_on(state, host.id)
    state.reach.set_best(host.id, host.peer.addresses[0] if host.peer.addresses else None)
    state.last_host_number = max(state.last_host_number, int(host.id.removeprefix("h-")))
    state.host_changed(host.id)


def _host_seen(state: State, change: HostSeen) -> None:
    _see(state, marked(change.host, state.health.get(change.host.id)))


def _see(state: State, host: Host) -> None:
    known = state.hosts[host.id]
    if known.state is not host.state or _troubles(known) != _troubles(host):
        state.host_changed(host.id)
        _touch_jobs_on(state, host.id)
    if known.hardware is not host.hardware:
        state.shares.refit(known.hardware, host.hardware)
        state.usage[host.id].version += 1
        state.links[host.id] = link_of(host)
    state.hosts[host.id] = host


def _health_updated(state: State, change: HealthUpdated) -> None:
    health = change.health
    known = state.health.get(health.host_id)
    for record in health.gpus:
        lifecycle.check_health(known.of(record.gpu).state if known else Health.HEALTHY, record.state)
    load_health(state, health)


def load_health(state: State, health: HostHealth) -> None:
    """Take stored health in, of which GPUs may be in any state."""
    state.health[health.host_id] = health
    state.vacating.discard(health.host_id)
    if any(record.state is Health.DRAINING for record in health.gpus):
        state.vacating.add(health.host_id)
    host = state.hosts[health.host_id]
    new = marked(host, health)
    if new is not host:
        _see(state, new)


def _host_event_noted(state: State, change: HostEventNoted) -> None:
    state.events.append(change.event)
    state.last_event = max(state.last_event, change.event.number)


def _host_silent(state: State, change: HostSilent) -> None:
    if change.since is None:
        state.silent.pop(change.host_id, None)
    else:
        state.silent[change.host_id] = change.since


def _touch_jobs_on(state: State, host: HostId) -> None:
    """What is said of a job changes when a host of it goes away or comes back."""
    for allocation in state.usage[host].allocations:
        state.touched[state.allocations[allocation].job_id] = state.version


def _host_removed(state: State, change: HostRemoved) -> None:
    state.shares.refit(state.hosts.pop(change.id).hardware, None)
    state.planning.forget_host(change.id)
    del state.usage[change.id]
    del state.links[change.id]
    state.silent.pop(change.id, None)
    state.health.pop(change.id, None)
    state.vacating.discard(change.id)
    state.reach.forget(change.id)
    state.distances.forget_host(change.id)
    state.rollouts.forget(change.id)
    state.changed_hosts.discard(change.id)
    state.book.changed.add(change.id)


def _rollout_updated(state: State, change: RolloutUpdated) -> None:
    state.rollouts.take(change.rollout)


def _host_upgrade_updated(state: State, change: HostUpgradeUpdated) -> None:
    state.rollouts.put(change.upgrade)


def _reach_seen(state: State, change: ReachSeen) -> None:
    if state.reach.record(change.reach):
        state.host_changed(change.reach.source)
        state.host_changed(change.reach.target)


def _distances_asked(state: State, change: DistancesAsked) -> None:
    state.distances.ask(change.target, change.hosts)


def _distance_seen(state: State, change: DistanceSeen) -> None:
    state.distances.record(change.distance)
    state.planning.freed.add((change.distance.host_id,))


def _distances_late(state: State, change: DistancesLate) -> None:
    state.distances.give_up(change.target)


def _distances_dropped(state: State, change: DistancesDropped) -> None:
    state.distances.forget(change.target)


def _round_trip_seen(state: State, change: RoundTripSeen) -> None:
    state.distances.set_round_trip(change.host_id, change.seconds)
    state.planning.freed.add((change.host_id,))


def _troubles(host: Host) -> tuple[object, ...]:
    """What of a host's hardware keeps work away, and may mend or grow."""
    hardware = host.hardware
    if hardware is None:
        return ()
    cards = tuple((gpu.uuid, gpu.problem, gpu.fenced) for gpu in hardware.gpus)
    return (host.fenced, hardware.disk_problem, hardware.cpus, hardware.memory_bytes, *cards)


HANDLERS: dict[type, Callable[[State, Any], None]] = {
    HostUpdated: _host_updated,
    HostSeen: _host_seen,
    HealthUpdated: _health_updated,
    HostEventNoted: _host_event_noted,
    HostSilent: _host_silent,
    HostRemoved: _host_removed,
    RolloutUpdated: _rollout_updated,
    HostUpgradeUpdated: _host_upgrade_updated,
    ReachSeen: _reach_seen,
    DistancesAsked: _distances_asked,
    DistanceSeen: _distance_seen,
    DistancesLate: _distances_late,
    DistancesDropped: _distances_dropped,
    RoundTripSeen: _round_trip_seen,
}
