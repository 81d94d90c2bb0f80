"""Agents' calls: sessions and their epochs, and reports; and what owners do with hosts."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import Any

from coordinator.core import copies, health, host_events, nearness, preparing, startup, utilization
from coordinator.core.changes import (
    AllocationUpdated,
    DeadlineSet,
    HostSeen,
    HostSilent,
    HostUpdated,
    JobUpdated,
    NodeUpdated,
    ReachSeen,
    RoundTripSeen,
)
from coordinator.core.effects import ProbesWanted, SessionSuperseded
from coordinator.core.ends import on_end
from coordinator.core.errors import Conflict, HostForgotten, NotFound, StaleSession
from coordinator.core.events import (
    AllocationStatus,
    HostJoined,
    HostReported,
    RemovalRequested,
    SessionOpened,
)
from coordinator.core.ids import HostId, host_id
from coordinator.core.leases import forget, lease_deadline, lost_status, probe_deadline, renew_lease, vacate_deadline
from coordinator.core.lifecycle import OBSERVED_ORDER
from coordinator.core.model import Allocation, Gang, Host, HostFacts, HostState, JobState, NodeState, Phase
from coordinator.core.rendezvous import on_answer, on_prepared, on_repeated
from coordinator.core.spares import is_spare
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.words import several

# Hosts that one host is asked to probe in one order.
MAX_PROBE_TARGETS = 256
# An ephemeral host that has joined is forgotten if its agent does not call within so long.
FIRST_CALL_SECONDS = 600.0


def find_host(state: State, ref: str) -> Host:
    """The host with this id or name. Raises NotFound."""
    found = state.hosts.get(HostId(ref)) or next((h for h in state.hosts.values() if h.name == ref), None)
    if found is None:
        raise NotFound(f"there is no host {ref!r}; 'coordinator hosts' lists them")
    return found


# ---------------------------------------------------------------- membership


def on_joined(turn: Turn, event: HostJoined) -> Host:
    """Take a host in under a name that no other has."""
    state = turn.state
    names = {host.name for host in state.hosts.values()}
    name, number = event.name, 2
    while name in names:
        name, number = f"{event.name}-{number}", number + 1
    host = Host(
        id=host_id(state.last_host_number + 1),
        name=name,
        facts=event.facts,
        joined_at=turn.at.wall,
        machine_id=event.machine_id,
    )
    turn.record(HostUpdated(host))
    host_events.note(turn, host, "joined", f"joined from backend {host.facts.backend}, region {host.facts.region}")
    await_ephemeral(turn, host)
    return host


def await_ephemeral(turn: Turn, host: Host) -> None:
    """A host that is only here for a while, and has never called, is waited for so long."""
    if host.facts.ephemeral and host.hardware is None:
        turn.record(DeadlineSet(lease_deadline(host.id), turn.at.mono + FIRST_CALL_SECONDS))


def on_removal(turn: Turn, event: RemovalRequested) -> Host:
    """Forget a host. Raises NotFound, and Conflict while work is on it, or while a host that is gone is in contact."""
    host = find_host(turn.state, event.host)
    if event.gone:
        _end_all(turn, host, event.user)
    elif turn.state.usage[host.id].allocations:
        raise Conflict(_not_yet(turn.state, host))
    host_events.note(turn, host, "removed", f"removed by {event.user or 'a user'}")
    forget(turn, host.id)
    return host


def _end_all(turn: Turn, host: Host, user: str) -> None:
    """The machine is gone for good, says its owner: so is what it ran, whatever the jobs say about waiting for it."""
    if host.state is HostState.ONLINE:
        raise Conflict(
            f"host {host.name!r} is in contact, so it is not gone; leave --gone out, or stop its agent for good first"
        )
    for allocation_id in sorted(turn.state.usage[host.id].allocations):
        allocation = turn.state.allocations[allocation_id]
        on_end(turn, allocation, lost_status(turn, allocation, f"host {host.name} is gone for good, says {user}"))


def still_runs(state: State, host: Host) -> str:
    """The names of the jobs that hold something on the host."""
    jobs = sorted({state.jobs[state.allocations[a].job_id].name for a in state.usage[host.id].allocations})
    return several(jobs, 5)


def _not_yet(state: State, host: Host) -> str:
    names = still_runs(state, host)
    if host.state is HostState.ONLINE:
        return f"host {host.name!r} still runs {names}; have it go: coordinator host drain {host.name}"
    return (
        f"host {host.name!r} is away and may still run {names}; start its agent again, or, if the machine is gone for "
        f"good: coordinator host remove {host.name} --gone"
    )


# ---------------------------------------------------------------- sessions


def on_session(turn: Turn, event: SessionOpened) -> Host:
    """Begin a new epoch of the host; older sessions of it are over. Raises HostForgotten."""
    state = turn.state
    known = state.hosts.get(event.host_id)
    if known is None:
        raise HostForgotten(f"host {event.host_id} was removed from this cluster; join it again with a new token")
    if known.peer != event.peer:
        state.reach.forget(known.id)
    host = replace(
        known,
        facts=_merged(known.facts, event.facts),
        hardware=event.hardware,
        peer=event.peer,
        agent_version=event.agent_version,
        drained=event.drained,
        queues=event.queues,
        build=event.build,
        **_back(known, event),
        epoch=known.epoch + 1,
        state=HostState.ONLINE,
        last_seen_at=turn.at.wall,
    )
    turn.record(HostUpdated(host))
    turn.record(HostSilent(host.id, None))
    if known.vacates_for and not host.vacates_for:
        turn.record(DeadlineSet(vacate_deadline(host.id), None))
        host_events.note(turn, host, "resumed", "is back, and gets work again")
    _note_return(turn, known)
    turn.effect(SessionSuperseded(host.id, host.epoch))
    renew_lease(turn, host.id)
    _probe_what_is_new(turn, host)
    nearness.on_online(turn, host)
    health.on_contact(turn, host, known.hardware.boot_id if known.hardware is not None else "")
    return host


def _note_return(turn: Turn, known: Host) -> None:
    if known.state is HostState.LOST:
        host_events.note(turn, known, "back", "is in contact again")


def _back(known: Host, event: SessionOpened) -> dict[str, Any]:
    """A host that asked for its own drain, and now comes without asking, is to get work again."""
    ended = bool(known.vacates_for) and not event.leaving
    return {"cordoned": False, "vacate_at": 0.0, "vacates_for": ""} if ended else {}


def _merged(known: HostFacts, said: HostFacts) -> HostFacts:
    # Labels that came with the join token stay; the agent's own win where both name one.
    return replace(said, labels={**known.labels, **said.labels})


def on_report(turn: Turn, event: HostReported) -> float:
    """Take a report in; answered with the lease in seconds. Raises StaleSession and HostForgotten."""
    state = turn.state
    host = state.hosts.get(event.host_id)
    if host is None:
        raise HostForgotten(f"host {event.host_id} was removed from this cluster; join it again with a new token")
    if host.epoch != event.epoch:
        raise StaleSession(
            f"session {event.epoch} of host {host.name!r} was superseded by {host.epoch}; open a new one"
        )
    _seen(turn, host, event)
    if host.state is not HostState.ONLINE:
        health.arm(turn, host)
    for reach in event.probes:
        if reach.source == host.id != reach.target and reach.target in state.hosts:
            turn.record(ReachSeen(reach))
    for distance in event.distances:
        if distance.host_id == host.id:
            nearness.on_measured(turn, distance)
    # Before the ends that were seen with it: they are to be judged by it.
    if event.evidence:
        health.on_evidence(turn, host, event.evidence)
    if event.hardware is not None:
        health.on_conditions(turn, state.hosts[host.id])
    for status in event.statuses:
        on_status(turn, host.id, status)
    if event.hardware is not None:
        utilization.on_readings(turn, state.hosts[host.id])
    return state.timing.lease


def _seen(turn: Turn, host: Host, event: HostReported) -> None:
    hardware = event.hardware or host.hardware
    if event.goodbye:
        # Its tasks go on under its last lease; only new work stays away.
        turn.record(HostSeen(replace(host, state=HostState.OFFLINE, last_seen_at=turn.at.wall)))
        turn.record(HostSilent(host.id, turn.at.mono))
        turn.record(DeadlineSet(lease_deadline(host.id), turn.at.mono + turn.state.timing.lost))
        return
    _note_return(turn, host)
    # A clock that was set back must not keep the time from being renewed until it is where it was.
    stale = abs(turn.at.wall - host.last_seen_at) >= 1.0
    if host.state is not HostState.ONLINE or event.hardware is not None or stale:
        turn.record(HostSeen(replace(host, state=HostState.ONLINE, hardware=hardware, last_seen_at=turn.at.wall)))
    if event.round_trip is not None and _differs(event.round_trip, turn.state.distances.round_trip(host.id)):
        turn.record(RoundTripSeen(host.id, event.round_trip))
    if host.id in turn.state.silent:
        turn.record(HostSilent(host.id, None))
    renew_lease(turn, host.id)


def _differs(seconds: float, known: float | None) -> bool:
    """By so much that it matters to anybody: heartbeats by the thousand say nearly the same again."""
    return known is None or abs(seconds - known) > max(0.0005, 0.2 * known)


# ---------------------------------------------------------------- statuses


def on_status(turn: Turn, source: HostId, status: AllocationStatus) -> None:
    """What a host saw of an allocation. Repeats, latecomers and other hosts' allocations are ignored."""
    state = turn.state
    allocation = state.allocations.get(status.id)
    if allocation is None or allocation.host_id != source:
        return
    if status.phase is Phase.ENDED:
        on_end(turn, allocation, health.blame(turn, allocation, status))
        return
    if status.phase is Phase.STOPPING and status.reason:
        _held_up(turn, allocation, status.reason)
    early = allocation.observed in (Phase.RESERVED, Phase.PREPARING)
    if early and status.phase is Phase.PREPARING and status.reason:
        preparing.on_progress(turn, allocation, status.reason)
    if status.ready and not allocation.ready:
        allocation = replace(allocation, ready=True)
        turn.record(AllocationUpdated(allocation))
        startup.go_on(turn, state.jobs[allocation.job_id])
    if OBSERVED_ORDER[status.phase] <= OBSERVED_ORDER[allocation.observed]:
        _prepared_still(turn, allocation, status)
        return
    spare = is_spare(state.jobs[allocation.job_id].spec, allocation)
    if spare and OBSERVED_ORDER[status.phase] > OBSERVED_ORDER[Phase.PREPARED]:
        return  # Nobody told it to run, and no node would be running.
    seen = replace(
        allocation,
        observed=status.phase,
        started_at=status.started_at,
        master_port=status.master_port or allocation.master_port,
    )
    turn.record(AllocationUpdated(seen))
    if status.phase is not Phase.PREPARING:
        preparing.on_prepared(turn, seen)
    if status.phase is Phase.PREPARED:
        gang = _gang_of(state, seen)
        if gang is not None:
            on_prepared(turn, gang)
    elif status.phase is Phase.RUNNING:
        _running(turn, seen)


def _prepared_still(turn: Turn, allocation: Allocation, status: AllocationStatus) -> None:
    """It waits for its group, which may be about to measure; an agent that was restarted holds another port."""
    prepared = status.phase is Phase.PREPARED is allocation.observed
    gang = _gang_of(turn.state, allocation) if prepared else None
    if gang is None or turn.state.jobs[allocation.job_id].spec.preflight is None:
        return
    if status.master_port and status.master_port != allocation.master_port:
        turn.record(AllocationUpdated(replace(allocation, master_port=status.master_port)))
    if status.answer is not None:
        on_answer(turn, allocation, status.answer)
    on_repeated(turn, turn.state.gangs[allocation.job_id])


def _held_up(turn: Turn, allocation: Allocation, reason: str) -> None:
    """It should be gone and is not: users see why. It stays held, for it may still work on what it holds."""
    node = turn.state.nodes[allocation.job_id][allocation.rank]
    if node.attempt == allocation.attempt and node.reason != reason:
        turn.record(NodeUpdated(replace(node, reason=reason)))


def _gang_of(state: State, allocation: Allocation) -> Gang | None:
    gang = state.gangs.get(allocation.job_id)
    fits = gang is not None and gang.generation == allocation.attempt and allocation.wanted is Phase.PREPARED
    return gang if fits and not is_spare(state.jobs[allocation.job_id].spec, allocation) else None


def _running(turn: Turn, allocation: Allocation) -> None:
    job = turn.state.jobs[allocation.job_id]
    node = turn.state.nodes[job.id][allocation.rank]
    if node.state is NodeState.PLACED:
        led = copies.led_by(node, allocation)
        started = replace(led, state=NodeState.RUNNING, started_at=allocation.started_at, address=allocation.address)
        turn.record(NodeUpdated(started))
    if job.state is JobState.STARTING:
        turn.record(JobUpdated(replace(job, state=JobState.RUNNING, started_at=job.started_at or turn.at.wall)))


# ---------------------------------------------------------------- probes


def order_probes(turn: Turn, host: Host) -> None:
    """Have the host probe others that may share a network with it, and again after the probe interval: all of them, or
    in a large cluster the next part of them."""
    round_number = int(turn.at.mono / turn.state.timing.probe_interval)
    _order(turn, host, _others(turn.state, host, round_number * MAX_PROBE_TARGETS))
    turn.record(DeadlineSet(probe_deadline(host.id), turn.at.mono + turn.state.timing.probe_interval))


def _probe_what_is_new(turn: Turn, host: Host) -> None:
    """At the begin of a session: probes both ways, but of links that are not known to work.

    A coordinator that is so busy that sessions break must not be given more to do by each that begins again.
    """
    reach, others = turn.state.reach, _others(turn.state, host)
    _order(turn, host, [other for other in others if not reach.reaches(host.id, other.id)])
    for other in others:
        if not reach.reaches(other.id, host.id):
            _order(turn, other, [host])
    turn.record(DeadlineSet(probe_deadline(host.id), turn.at.mono + turn.state.timing.probe_interval))


def _others(state: State, host: Host, first: int = 0) -> list[Host]:
    # The newest first, and no look at more hosts than needed: thousands come back after a restart.
    known = list(reversed(state.hosts.values()))
    first %= len(known)
    sharing = (other for other in chain(known[first:], known[:first]) if _may_share_network(host, other))
    return list(islice(sharing, MAX_PROBE_TARGETS)) if host.peer.port else []


def _order(turn: Turn, host: Host, targets: list[Host]) -> None:
    if targets:
        turn.effect(ProbesWanted(host.id, tuple(target.id for target in targets)))


def _may_share_network(one: Host, other: Host) -> bool:
    if one.id == other.id or not one.peer.port or not other.peer.port or other.state is not HostState.ONLINE:
        return False
    named = {one.facts.network, other.facts.network} - {None}
    return len(named) <= 1
