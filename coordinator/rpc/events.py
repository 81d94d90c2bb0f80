"""What happened to hosts, for users: what is kept of it, and what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rallypoint.v1 import host_service_pb2 as pb
from rallypoint.v1 import types_pb2

from coordinator.core.errors import NotFound
from coordinator.core.health_records import HostEvent
from coordinator.core.state import State
from coordinator.engine import Engine

# One answer has no more events than this.
PIECE = 200


async def listed(engine: Engine, request: pb.ListEventsRequest) -> AsyncIterator[pb.ListEventsResponse]:
    """The events that are asked for, in pieces. Raises NotFound for a host of which nothing is known."""
    found, version = await engine.read(lambda state: (_find(state, request.host, request.after), state.version))
    if request.limit:
        found = found[-request.limit :]
    last = request.after
    while True:
        for start in range(0, len(found), PIECE):
            yield pb.ListEventsResponse(events=[event_to_proto(event) for event in found[start : start + PIECE]])
        last = max([last, *(event.number for event in found)])
        if not request.follow:
            return
        version = await engine.next_version(version)
        after = last
        found = await engine.read(lambda state, after=after: _events(state, request.host, after))  # type: ignore[misc]


def _find(state: State, host: str, after: int) -> list[HostEvent]:
    known = not host or any(host in (each.id, each.name) for each in state.hosts.values())
    if not known and not _events(state, host, 0):
        raise NotFound(f"there is no host {host!r}, nor anything kept of one; 'coordinator hosts' lists them")
    return _events(state, host, after)


def _events(state: State, host: str, after: int) -> list[HostEvent]:
    if state.last_event <= after:
        return []
    return [e for e in state.events if e.number > after and (not host or host in (e.host_id, e.host))]


def event_to_proto(event: HostEvent) -> types_pb2.HostEvent:
    """An event."""
    return types_pb2.HostEvent(
        number=event.number,
        happened_at=event.at,
        host_id=event.host_id,
        host_name=event.host,
        kind=event.kind,
        text=event.text,
        gpu_uuid=event.gpu,
        evidence=event.evidence,
    )
