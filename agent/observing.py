"""From what the spawner says to what is observed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.model import AllocationId, Cause, Observed, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.spawner.wire import Message

    # The spawner tells times of the wall clock. They are turned at once into ones of a clock that nobody sets.
    Steady = Callable[[float], float]

_CAUSES = {
    "exit": Cause.EXIT,
    "stopped": Cause.STOPPED,
    "max_duration": Cause.MAX_DURATION,
    "start_failed": Cause.START_FAILED,
    "host": Cause.HOST,
    "out_of_memory": Cause.OUT_OF_MEMORY,
}


def from_news(current: Observed | None, message: Message, steady: Steady) -> Observed | None:
    """The allocation after one message; nothing if the message is of something unknown or over."""
    if current is None or current.phase is Phase.ENDED:
        return None
    match message["ev"]:
        case "started":
            phase = Phase.STOPPING if current.phase is Phase.STOPPING else Phase.RUNNING
            return replace(current, phase=phase, started_at=steady(_number(message["at"])))
        case "stopping":
            return replace(current, phase=Phase.STOPPING)
        case "stuck":
            return replace(current, phase=Phase.STOPPING, reason=str(message["reason"]))
        case "exited":
            return _ended(current, message, steady(_number(message["at"])))
        case "returned":
            at, reason = steady(_number(message["at"])), str(message["reason"])
            return replace(current, phase=Phase.ENDED, cause=Cause.RETURNED, reason=reason, ended_at=at, log_done=True)
    return None


def from_snapshot(message: Message, steady: Steady) -> dict[AllocationId, Observed]:
    """All allocations that the spawner has a record of."""
    records = message["records"]
    if not isinstance(records, dict):
        return {}
    boot = message.get("boot")
    found = (_from_record(AllocationId(str(key)), record, steady, boot) for key, record in records.items())
    return {seen.id: seen for seen in found}


def _from_record(key: AllocationId, record: Mapping[str, object], steady: Steady, boot: object) -> Observed:
    started = steady(_number(record.get("at"))) if record.get("pid") else 0.0
    stuck = str(record.get("stuck") or "")
    phase = Phase.STOPPING if "cause" in record or stuck else Phase.RUNNING
    # Absent in what an earlier release started: such a task ends with the lease.
    after = record.get("after", 0.0)
    after = None if after is None else _number(after)
    rebooted = record.get("boot") != boot
    seen = Observed(key, phase, started_at=started, reason=stuck, after=after, rebooted=rebooted)
    return _ended(seen, record, steady(_number(record["at_end"]))) if "at_end" in record else seen


def _ended(seen: Observed, end: Mapping[str, object], at: float) -> Observed:
    code = end.get("code")
    return replace(
        seen,
        phase=Phase.ENDED,
        exit_code=code if isinstance(code, int) else None,
        cause=_CAUSES.get(str(end.get("cause")), Cause.HOST),
        reason=str(end.get("reason") or ""),
        ended_at=at,
        log_bytes=int(_number(end.get("log_bytes"))),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
