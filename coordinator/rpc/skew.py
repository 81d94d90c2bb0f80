"""Callers of another release: what still works, and what each is told when something does not. Both sides are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from rallypoint.channel import PROTOCOL_KEY, RELEASE_KEY
from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.version import PROTOCOL_VERSION, Skew, __version__, skew_of

from coordinator.access.errors import ProtocolTooDifferent
from coordinator.access.roles import RULES
from coordinator.core.ids import HostId

log = structlog.get_logger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]
_US = f"this coordinator (release {__version__}) {PROTOCOL_VERSION}"


def drained(host_id: HostId, request: pb.OpenSessionRequest) -> str:
    """Why an agent gets no new work: its protocol is too far from ours; empty when it is not.

    What runs goes on either way: an upgrade that is late must not end it. Raises ProtocolTooDifferent for another
    major number, which leaves the host its lease.
    """
    theirs = request.protocol_version
    versions = f"its agent (release {request.agent_version or '?'}) speaks protocol {theirs or '?'}, {_US}"
    skew = skew_of(theirs, PROTOCOL_VERSION)
    if skew is Skew.OTHER:
        log.warning("host.refused", id=host_id, reason=versions)
        raise ProtocolTooDifferent(f"host {host_id}: {versions}: install the same release on both")
    if skew is Skew.NONE:
        return ""
    reason = f"{versions}: upgrade the {'agent' if skew is Skew.OLDER else 'coordinator'}"
    log.warning("host.drained", id=host_id, reason=reason)
    return reason


def is_unknown(method: str) -> bool:
    """Whether no port of this release has such a method."""
    return method not in RULES


def unknown_method(method: str, metadata: Metadata) -> ProtocolTooDifferent:
    """The refusal of a call that this release does not know."""
    name = method.rpartition("/")[2]
    return ProtocolTooDifferent(f"{_US} does not know the call {name}; {_caller(metadata)}: upgrade the coordinator")


def check_understood(message: Message, metadata: Metadata) -> None:
    """Refuse a message with fields that this release does not know: what they ask for would be passed over silently.

    Raises ProtocolTooDifferent.
    """
    unknown = sorted(set(_unknown_fields(message, message.DESCRIPTOR.name)))
    if unknown:
        raise ProtocolTooDifferent(
            f"the job asks for something that {_US} does not know ({', '.join(unknown)}); {_caller(metadata)}: "
            "upgrade the coordinator, or leave out of the task what is new"
        )


def _unknown_fields(message: Message, path: str) -> Iterator[str]:
    # The stubs lack its iteration.
    for field in UnknownFieldSet(message):  # type: ignore[attr-defined]
        yield f"{path} field {field.field_number}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        for part in value if descriptor.is_repeated else (value,):
            yield from _unknown_fields(part, f"{path}.{descriptor.name}")


def _caller(metadata: Metadata) -> str:
    said = {key: value for key, value in metadata if isinstance(value, str)}
    return f"the caller (release {said.get(RELEASE_KEY, '?')}) speaks {said.get(PROTOCOL_KEY, '?')}"
