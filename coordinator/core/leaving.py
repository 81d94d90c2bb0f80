"""Hosts that leave the cluster by themselves: uninstalled, or on machines that were only lent (ephemeral ones)."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import host_events
from coordinator.core.draining import vacate
from coordinator.core.ends import on_end
from coordinator.core.errors import Conflict
from coordinator.core.events import HostLeft
from coordinator.core.leases import forget, lost_status
from coordinator.core.model import EndCause, Host
from coordinator.core.sessions import still_runs
from coordinator.core.state import State
from coordinator.core.turn import Turn


def on_left(turn: Turn, event: HostLeft) -> Host | None:
    """Forget the host; nothing (None) when it is forgotten already. Raises Conflict while it may run something.

    What it says is taken for true, as its exit codes are: when nothing runs there, what it held may run elsewhere.
    """
    host = turn.state.hosts.get(event.host_id)
    if host is None:
        return None
    if not event.idle and turn.state.usage[host.id].allocations:
        raise Conflict(still_held(turn.state, host))
    # As if it had been drained, which is nobody's failure, and had stopped all of it at once.
    vacate(turn, replace(host, vacates_for=event.reason))
    for allocation_id in sorted(turn.state.usage[host.id].allocations):
        # The end of one may have freed another one, of the same gang.
        allocation = turn.state.allocations.get(allocation_id)
        if allocation is not None:
            status = lost_status(turn, allocation, f"host {host.name} left: {event.reason}")
            on_end(turn, allocation, replace(status, cause=EndCause.STOPPED))
    host_events.note(turn, host, "removed", f"left: {event.reason}")
    forget(turn, host.id)
    return host


def still_held(state: State, host: Host) -> str:
    """Why a host may not leave yet, and what is there."""
    return f"host {host.name!r} still runs {still_runs(state, host)}; have it drained first"
