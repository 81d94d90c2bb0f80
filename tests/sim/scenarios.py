"""Seeds of histories that once broke, each with what it found. They are run with every test run, before any new seed."""

from __future__ import annotations

SCENARIOS: dict[int, str] = {0: "x"}
