"""Helpers that every kind of test shares: skipping with a reason, waiting for a condition, and finding free ports."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")


def missing(part: str, way_out: str) -> NoReturn:
    """Skip the test because a system part is missing; fail instead when ``RALLYPOINT_TEST_STRICT=1`` (CI)."""
    reason = f"needs {part}; {way_out}"
    if os.environ.get("RALLYPOINT_TEST_STRICT") == "1":
        pytest.fail(f"strict run, but the test {reason}")
    pytest.skip(reason)


def eventually(probe: Callable[[], T], timeout: float = 20.0, what: str = "condition") -> T:
    """Return ``probe()`` as soon as it is truthy; fail after ``timeout`` seconds, saying what was last seen.

    The only place where tests wait by the clock: for things that happen in another process and that nobody announces.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"{what} not reached within {timeout:g} s; last seen: {seen!r}")
        time.sleep(0.02)
