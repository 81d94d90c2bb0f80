"""Notes of what happens to hosts, kept for their owners to look up."""

from __future__ import annotations

from coordinator.core.changes import HostEventNoted
from coordinator.core.health_records import HostEvent
from coordinator.core.model import Host
from coordinator.core.turn import Turn


def note(turn: Turn, host: Host, kind: str, text: str, *, gpu: str = "", evidence: str = "") -> None:
    """Something happened to the host. ``kind`` is one word for it, ``text`` a line that says it without the host."""
    event = HostEvent(turn.state.last_event + 1, turn.at.wall, host.id, host.name, kind, text, gpu, evidence)
    turn.record(HostEventNoted(event))
