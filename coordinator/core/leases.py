"""Leases as the coordinator counts them: a silent host is suspect, then lost; what it can not run any more is ended."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import absence, host_events
from coordinator.core.changes import DeadlineSet, HostRemoved, HostSeen, HostSilent, HostUpdated
from coordinator.core.effects import SessionSuperseded
from coordinator.core.ends import on_end
from coordinator.core.events import AllocationStatus
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, EndCause, Host, HostState, Phase
from coordinator.core.turn import Turn


def lease_deadline(host: HostId) -> str:
    """The key of the deadline at which the host's state is to be judged again."""
    return f"lease:{host}"


def vacate_deadline(host: HostId) -> str:
    """The key of the deadline at which the work of a host that is drained has to go."""
    return f"vacate:{host}"


def upgrade_deadline(host: HostId) -> str:
    """The key of the deadline by which the host has to say how its upgrade ended."""
    return f"upgrade:{host}"


def probe_deadline(host: HostId) -> str:
    """The key of the deadline at which the host probes its peers again."""
    return f"probe:{host}"


def health_deadline(host: HostId) -> str:
    """The key of the deadline at which the health of the host's GPUs is to be looked at again."""
    return f"health:{host}"


def forget(turn: Turn, host: HostId) -> None:
    """Forget a host that holds nothing; its session ends, and it is refused from now on."""
    for key in (lease_deadline(host), vacate_deadline(host), probe_deadline(host), health_deadline(host)):
        turn.record(DeadlineSet(key, None))
    turn.record(HostRemoved(host))
    turn.effect(SessionSuperseded(host, None))


def renew_lease(turn: Turn, host: HostId) -> None:
    """The host was heard of now: it is suspect, then lost, so long after this moment."""
    turn.record(DeadlineSet(lease_deadline(host), turn.at.mono + turn.state.timing.suspect))


def on_lease_deadline(turn: Turn, host: Host) -> None:
    """The host was not heard of in time: suspect at first, lost once its lease and the grace after it are over."""
    timing = turn.state.timing
    if host.state is HostState.ONLINE:
        since = turn.at.mono - timing.suspect
        turn.record(HostSeen(replace(host, state=HostState.SUSPECT)))
        turn.record(HostSilent(host.id, since))
        turn.record(DeadlineSet(lease_deadline(host.id), max(turn.at.mono, since + timing.lost)))
        return
    if host.state is HostState.OFFLINE and not turn.state.usage[host.id].allocations:
        _let_go(turn, host)
        return
    if host.state is HostState.SUSPECT:
        host_events.note(turn, host, "lost", "not heard of for so long that its lease is over")
    lost = HostState.OFFLINE if host.state is HostState.OFFLINE else HostState.LOST
    turn.record(HostSeen(replace(host, state=lost)))
    _give_up(turn, host, turn.state.silent.get(host.id, turn.at.mono - timing.lost))


def _give_up(turn: Turn, host: Host, since: float) -> None:
    """End what can't run there any more, and look again when more of it can't."""
    later = []
    for allocation_id in sorted(turn.state.usage[host.id].allocations):
        allocation = turn.state.allocations[allocation_id]
        at = absence.give_up_at(turn.state, allocation, since)
        if at is not None and at <= turn.at.mono:
            job = turn.state.jobs[allocation.job_id]
            status = lost_status(turn, allocation, absence.lost_reason(turn.state, job, host))
            on_end(turn, allocation, status, retry=not absence.is_kept(job.spec))
        elif at is not None:
            later.append(at)
    if not turn.state.usage[host.id].allocations:
        _let_go(turn, host)
        return
    if host.facts.ephemeral:
        # What is kept there may be given up by other ways, of which a host that is away hears nothing.
        later.append(turn.at.mono + turn.state.timing.lost)
    if later:
        turn.record(DeadlineSet(lease_deadline(host.id), min(later)))
    # To be told how long it has been away, though the coordinator may be started anew meanwhile.
    turn.record(HostUpdated(turn.state.hosts[host.id]))


def _let_go(turn: Turn, host: Host) -> None:
    """A host that is away holds nothing any more: one that was only here for a while is forgotten."""
    if host.facts.ephemeral:
        why = "not heard of for too long" if host.hardware is not None else "its agent never called"
        host_events.note(turn, host, "removed", f"{why}, and ephemeral")
        forget(turn, host.id)


def lost_status(turn: Turn, allocation: Allocation, reason: str) -> AllocationStatus:
    """The end of an attempt that nobody is left to report."""
    node = turn.state.nodes[allocation.job_id].get(allocation.rank)
    return AllocationStatus(
        id=allocation.id,
        phase=Phase.ENDED,
        cause=EndCause.HOST,
        reason=reason,
        started_at=node.started_at if node is not None else 0.0,
        ended_at=turn.at.wall,
        log_bytes=node.log_bytes if node is not None else 0,
    )
