"""What a task file says about failures: ``retry``, ``on_disconnect``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator

from coordinator.core.spec import DisconnectAction, RetryEvent, RetryPolicy
from coordinator.core.spec import OnDisconnect as Rule
from coordinator.spec.durations import parse_duration, parse_max_duration
from coordinator.spec.fields import Fields, choice, text_of
from coordinator.spec.problems import Wrong
from coordinator.spec.resources import parse_count


def _events(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _attempts(value: object) -> int:
    attempts = parse_count(text_of(value))
    if attempts == 0:
        raise Wrong("attempts: 0 would never run the job; write 1 for a single try")
    return attempts


class Retry(Fields):
    """``retry``: which failures are tried again, for how long, how often."""

    on_events: Annotated[
        tuple[Annotated[RetryEvent, PlainValidator(choice("retry event", RetryEvent))], ...], BeforeValidator(_events)
    ] = tuple(RetryEvent)
    duration: Annotated[float | None, PlainValidator(lambda value: parse_max_duration(text_of(value)))] = None
    attempts: Annotated[int, PlainValidator(_attempts)] | None = None

    def policy(self) -> RetryPolicy:
        """The rule that the core keeps."""
        return RetryPolicy(frozenset(self.on_events), self.duration, self.attempts)


def parse_retry(value: object) -> object:
    """``retry: true`` is a retry of everything; ``false`` the same as none."""
    if isinstance(value, str):
        if value.lower() in ("true", "yes", "on"):
            return {}
        if value.lower() in ("false", "no", "off"):
            return None
        raise Wrong(f"retry {value!r} is not known; write true, false, or a mapping with on_events, duration, attempts")
    return value


def _after(value: object) -> float:
    seconds = parse_duration(text_of(value))
    if seconds == 0:
        raise Wrong("after: 0 would stop the node at the first lost packet; write a longer time, such as 5m")
    return seconds


class OnDisconnect(Fields):
    """``on_disconnect``: what becomes of a node whose host is out of contact."""

    action: Annotated[DisconnectAction, PlainValidator(choice("on_disconnect", DisconnectAction))] = (
        DisconnectAction.STOP
    )
    after: Annotated[float, PlainValidator(_after)] | None = None

    def rule(self) -> Rule:
        """The rule that the core keeps."""
        return Rule(self.action, self.after)


def parse_on_disconnect(value: object) -> object:
    """``on_disconnect: keep`` is the short form of a mapping without ``after``."""
    return {"action": value} if isinstance(value, str) else value
