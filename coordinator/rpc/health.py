"""The health of GPUs between protobuf and records."""

from __future__ import annotations

from collections.abc import Iterable

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.health_records import GpuHealth, Health

# Of what an agent says about a sign, so many characters are kept.
MAX_DETAIL = 300

_NUMBER: dict[Sign, pb.HealthSign.ValueType] = {
    sign: pb.HealthSign.Value(f"HEALTH_SIGN_{sign.name}") for sign in Sign if sign is not Sign.OTHER
}
_STATE = {state: pb.GpuHealthState.Value(f"GPU_HEALTH_STATE_{state.name}") for state in Health}
_SIGN: dict[int, Sign] = {number: sign for sign, number in _NUMBER.items()}


def evidence_from_proto(messages: Iterable[pb.HealthEvidence]) -> tuple[Evidence, ...]:
    """What an agent saw, in the order in which it counted it."""
    found = (
        Evidence(
            gpu=message.gpu_uuid,
            sign=_sign(message),
            code=message.code,
            detail=_line(message.detail),
            seconds_ago=max(0.0, message.seconds_ago),
            allocation_id=message.allocation_id,
            sequence=message.sequence,
        )
        for message in messages
    )
    return tuple(sorted(found, key=lambda evidence: evidence.sequence))


def conditions_from_proto(messages: Iterable[pb.HealthEvidence]) -> tuple[Condition, ...]:
    """What holds now on one GPU, or on a host."""
    return tuple(Condition(_sign(message), message.code, _line(message.detail)) for message in messages)


def conditions_to_proto(conditions: Iterable[Condition]) -> list[pb.HealthEvidence]:
    """What holds now."""
    return [pb.HealthEvidence(sign=_number(c.sign), code=c.code, detail=c.detail) for c in conditions]


def _number(sign: Sign) -> pb.HealthSign.ValueType:
    # What a newer agent said has no name here.
    return _NUMBER.get(sign, pb.HEALTH_SIGN_UNSPECIFIED)


def health_to_proto(record: GpuHealth) -> pb.GpuHealth:
    """How a GPU stands."""
    return pb.GpuHealth(
        gpu_uuid=record.gpu,
        state=_STATE[record.state],
        reason=record.reason,
        evidence=record.evidence,
        changed_at=record.changed_at,
    )


def _sign(message: pb.HealthEvidence) -> Sign:
    return _SIGN.get(message.sign, Sign.OTHER)


def _line(text: str) -> str:
    # It is shown on one line, in logs too.
    return " ".join(text.split())[:MAX_DETAIL]
