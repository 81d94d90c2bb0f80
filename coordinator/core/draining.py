"""Cordons and drains: a host gets no new work; drained, its work has to go too, at once or by a deadline.

Until the deadline what runs there goes on, and may well end. Then it is stopped, with the grace that its job asks for,
and placed elsewhere as if that attempt had never been: a drain is nobody's failure. A gang is stopped as a whole and
formed again; its other members stay where they are, and a spare takes the place of the one that had to go.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import host_events
from coordinator.core.changes import DeadlineSet, HostUpdated
from coordinator.core.errors import HostForgotten
from coordinator.core.events import CordonRequested, DrainRequested, VacateAsked
from coordinator.core.leases import vacate_deadline
from coordinator.core.model import Host
from coordinator.core.sessions import find_host
from coordinator.core.turn import Turn
from coordinator.core.vacating import move


def on_cordon(turn: Turn, event: CordonRequested) -> Host:
    """Let no new work in, or let it in again, which ends a drain too. Raises NotFound."""
    known = find_host(turn.state, event.host)
    host = replace(known, cordoned=event.cordoned, vacates_for="")
    if not event.cordoned:
        host = replace(host, vacate_at=0.0)
    turn.record(HostUpdated(host))
    if (host.cordoned, host.vacate_at) != (known.cordoned, known.vacate_at):
        host_events.note(turn, host, "cordoned" if host.cordoned else "resumed", _of_cordon(host.cordoned))
    if not host.vacate_at:
        turn.record(DeadlineSet(vacate_deadline(host.id), None))
    return host


def _of_cordon(cordoned: bool) -> str:
    return "gets no new work; what runs there goes on" if cordoned else "gets work again"


def on_drain(turn: Turn, event: DrainRequested) -> Host:
    """Let no new work in, and have all work go after so many seconds; asked for again, the new time counts.

    Raises NotFound.
    """
    known = find_host(turn.state, event.host)
    host = replace(known, cordoned=True, vacate_at=turn.at.served + event.seconds, vacates_for="")
    turn.record(HostUpdated(host))
    when = f"in {event.seconds:.0f} s" if event.seconds else "now"
    host_events.note(turn, host, "drained", f"gets no new work, and what runs there goes {when}")
    _vacate_later(turn, host, event.seconds)
    return host


def _vacate_later(turn: Turn, host: Host, seconds: float) -> None:
    if seconds > 0.0:
        turn.record(DeadlineSet(vacate_deadline(host.id), turn.at.mono + seconds))
    else:
        vacate(turn, host)


def on_vacate_asked(turn: Turn, event: VacateAsked) -> Host:
    """The host asks for its own drain; an earlier time stands, and so does what its owner wanted. Raises HostForgotten.

    Until it comes back without asking, or its owner lets work in again.
    """
    known = turn.state.hosts.get(event.host_id)
    if known is None:
        raise HostForgotten(f"host {event.host_id} was removed from this cluster")
    at = turn.at.served + event.seconds
    if known.vacate_at and known.vacate_at <= at:
        return known
    own = known.vacates_for or ("" if known.cordoned else event.reason)
    host = replace(known, cordoned=True, vacate_at=at, vacates_for=own)
    turn.record(HostUpdated(host))
    host_events.note(turn, host, "drained", f"asked to be drained: {event.reason}")
    _vacate_later(turn, host, event.seconds)
    return host


def watch(turn: Turn, host: Host) -> None:
    """The coordinator starts: the host's work goes when its time has come, which stood still meanwhile."""
    if host.vacate_at:
        left = max(0.0, host.vacate_at - turn.at.served)
        turn.record(DeadlineSet(vacate_deadline(host.id), turn.at.mono + left))


def vacate(turn: Turn, host: Host) -> None:
    """The time has come: have everything go that is on the host. Harmless when it is going already."""
    state = turn.state
    turn.record(DeadlineSet(vacate_deadline(host.id), None))
    for allocation_id in sorted(state.usage[host.id].allocations):
        # Another one of them may have taken it along.
        allocation = state.allocations.get(allocation_id)
        if allocation is not None:
            move(turn, allocation, _why(host))


def _why(host: Host) -> str:
    return f"host {host.name} is to go: {host.vacates_for}" if host.vacates_for else f"host {host.name} is drained"
