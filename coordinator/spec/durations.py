"""Durations as people write them: ``90s``, ``5m``, ``1h``, ``2d``, ``1w``, plain seconds, ``off``."""

from __future__ import annotations

import re

from coordinator.spec.problems import Wrong

_DURATION = re.compile(r"(?P<amount>[0-9]{1,9}(?:\.[0-9]{1,6})?) *(?P<unit>[smhdw]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OFF = frozenset({"off", "false", "no"})


def parse_duration(text: str) -> float:
    """Seconds. Raises ``Wrong``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise Wrong(f"{text!r} is not a duration; write a number and a unit: 90s, 5m, 1h, 2d")
    return float(match["amount"]) * _SECONDS[match["unit"].lower()]


def parse_max_duration(text: str) -> float | None:
    """Seconds that a node may run; ``off`` is None, no limit. Raises ``Wrong``."""
    if text.lower() in _OFF:
        return None
    seconds = parse_duration(text)
    if seconds == 0:
        raise Wrong("a max_duration of 0 would stop the job before it ran; write a longer one, or off for no limit")
    return seconds


def parse_stop_duration(text: str) -> float:
    """Seconds between the stop signal and the kill. Raises ``Wrong``."""
    if text.lower() in _OFF:
        raise Wrong(
            "'off' is not supported yet for stop_duration; a stop must end some time; write a long one such as 1d"
        )
    return parse_duration(text)
