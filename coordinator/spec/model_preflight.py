"""What a task file has measured before a group starts: ``preflight``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainValidator, model_validator

from coordinator.core.spec import OnSlow, PreflightKind, PreflightPolicy
from coordinator.spec.fields import Fields, choice, text_of
from coordinator.spec.problems import Wrong
from coordinator.spec.rules import check_preflight

_BANDWIDTH = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?) ?(?P<unit>[kmgt])(?:bps|bit/s|bit)", re.IGNORECASE)
_BITS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_SHORT = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?) ?(?P<unit>us|µs|ms|s)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def _bandwidth(value: object) -> float:
    text = text_of(value)
    match = _BANDWIDTH.fullmatch(text.strip())
    if match is None:
        raise Wrong(f"min_bandwidth {text!r} is not a bandwidth; it is in bits a second; write for example 10Gbps")
    return float(match["number"]) * _BITS[match["unit"].lower()]


def _short(what: str, text: str, example: str) -> float:
    match = _SHORT.fullmatch(text.strip())
    if match is None:
        raise Wrong(f"{what} {text!r} is not a short time; it has a unit: us, ms or s; write for example {example}")
    return float(match["number"]) * _SECONDS[match["unit"]]


def _lasts(value: object) -> float:
    text = text_of(value)
    return _short("seconds", text if text[-1:].isalpha() else f"{text}s", "2")


class Preflight(Fields):
    """``preflight``: what is measured, what is too slow, and what becomes of the group then."""

    kind: Annotated[PreflightKind, PlainValidator(choice("preflight", PreflightKind))] = PreflightKind.NETWORK
    min_bandwidth: Annotated[float, PlainValidator(_bandwidth)] | None = None
    max_latency: Annotated[float, PlainValidator(lambda value: _short("max_latency", text_of(value), "1ms"))] | None = (
        None
    )
    seconds: Annotated[float, PlainValidator(_lasts)] = PreflightPolicy().seconds
    on_slow: Annotated[OnSlow, PlainValidator(choice("on_slow", OnSlow))] = OnSlow.REPLACE

    @model_validator(mode="after")
    def _can_be_made(self) -> Preflight:
        check_preflight(self.policy())
        return self

    def policy(self) -> PreflightPolicy:
        """The rule that the core keeps."""
        return PreflightPolicy(self.kind, self.min_bandwidth, self.max_latency, self.seconds, self.on_slow)


def parse_preflight(value: object) -> object:
    """``preflight: network`` is the short form of a mapping with the kind alone; ``off`` the same as none."""
    if isinstance(value, str):
        return None if value.lower() in ("off", "false", "no") else {"kind": value}
    return value
