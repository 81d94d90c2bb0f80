"""How times, amounts of money and speeds are written for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

# What a node's or a job's reason has before what is done for it while it is made ready.
PREPARING = "preparing: "

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def several(said: Sequence[str], most: int, between: str = ", ") -> str:
    """``a, b and 3 more``, or ``a; b; and 3 more``: the first ``most`` of these, and how many others there are."""
    left = len(said) - most
    last = " and" if between == ", " else f"{between}and"
    return between.join(said[:most]) + (f"{last} {left} more" if left > 0 else "")


def format_duration(seconds: float) -> str:
    """The shortest text with at most two units: ``45s``, ``5m10s``, ``1h``, ``2d3h``."""
    whole = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in _SECONDS.items():
        amount, whole = divmod(whole, length)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return "".join(parts[:2]) or "0s"


def usd(amount: float) -> str:
    """``50.02 USD``; small amounts with as many digits as they need."""
    return f"{cents(amount)} USD"


def cents(amount: float) -> str:
    """``50.02``; less than ten cents with two digits that count, never with an exponent: ``0.0000085``."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"{amount:.2f}"
    return f"{amount:.{1 - floor(log10(abs(amount)))}f}"


def bits(rate: float) -> str:
    """``9.4 Gbit/s``, from bits a second."""
    for unit, name in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if rate >= unit:
            return f"{rate / unit:.3g} {name}"
    return f"{rate:.3g} bit/s"


def floating(rate: float) -> str:
    """``640 TFLOP/s``, from floating-point operations a second."""
    return f"{rate / 1e12:.3g} TFLOP/s" if rate >= 1e11 else f"{rate / 1e9:.3g} GFLOP/s"


def milliseconds(seconds: float) -> str:
    """``0.21 ms``."""
    return f"{seconds * 1000:.3g} ms"
