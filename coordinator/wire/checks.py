"""What numbers, ranges and words on the wire may be: anybody can send a message. Each raises ``Wrong``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from google.protobuf.message import Message
from rallypoint.v1 import types_pb2 as pb

from coordinator.core.spec import Range
from coordinator.spec import rules
from coordinator.spec.problems import Wrong

K = TypeVar("K")
V = TypeVar("V")

_MAX_SECONDS = 100 * 365 * 86400.0


def known(what: str, value: K, members: Mapping[V, K], default: V | None = None) -> V:
    """The member with this number; 0 is ``default``, if there is one."""
    if value == 0 and default is not None:
        return default
    for member, number in members.items():
        if number == value:
            return member
    raise Wrong(f"{what} {value} is not known to this coordinator; it may be older than the client; upgrade it")


def at_most(what: str, value: int, most: int) -> int:
    """A number up to a limit."""
    if value > most:
        raise Wrong(f"{what} {value} is too high; it goes up to {most}; choose another")
    return value


def seconds(message: Message, field: str, *, positive: bool) -> float | None:
    """A duration; None when it is not given."""
    return amount(message, field, "100 years", _MAX_SECONDS, positive=positive)


def amount(message: Message, field: str, limit: str, most: float, *, positive: bool) -> float | None:
    """A real number up to ``most``, which people call ``limit``; None when it is not given."""
    if not message.HasField(field):
        return None
    value = float(getattr(message, field))
    if not math.isfinite(value) or value < 0 or value > most or (positive and value == 0):
        least = "more than 0" if positive else "0 or more"
        raise Wrong(f"{field} {value} can't be used; it must be {least} and at most {limit}; choose another")
    return value


def range_of(what: str, message: pb.IntRange) -> Range:
    """A closed range of amounts."""
    found = Range(message.min if message.HasField("min") else None, message.max if message.HasField("max") else None)
    if (found.min or 0) < 0 or (found.max or 0) < 0:
        raise Wrong(f"{what} {found.text()} is below 0; amounts are 0 or more; choose another range")
    if found.min is not None and found.max is not None and found.min > found.max:
        raise Wrong(f"{what} {found.text()} is the wrong way round; the lower end comes first; turn it around")
    return found


def env_of(env: Mapping[str, str]) -> Mapping[str, str]:
    """Variables."""
    return MappingProxyType(
        {rules.check_env_key(key): rules.check_text(f"env {key}", value) for key, value in env.items()}
    )


def argv_of(argv: Iterable[str]) -> tuple[str, ...]:
    """A program and its arguments; empty: none."""
    checked = tuple(rules.check_text("an argument", argument) for argument in argv)
    if checked and not checked[0]:
        raise Wrong("argv begins with an empty text; the first argument is the program; name one")
    return checked


def commands_of(commands: Iterable[str]) -> tuple[str, ...]:
    """Commands for a shell."""
    return tuple(rules.check_text("a command", command) for command in commands)


def texts_of(what: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Names of things; none is empty."""
    checked = tuple(rules.check_text(what, text) for text in texts)
    if not all(checked):
        raise Wrong(f"{what} is empty; leave it out, or name one")
    return checked
