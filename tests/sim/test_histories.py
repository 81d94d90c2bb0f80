"""Thousands of histories: nothing that must never happen happens, and every job ends once the faults stop."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.history import Script, run
from tests.sim.scenarios import SCENARIOS, SEEDS

# Another base looks at other histories (a night's run sets it by the date); the number stays the same.
BASE = int(os.environ.get("RALLYPOINT_SIM_BASE", "0"))
HISTORIES = int(os.environ.get("RALLYPOINT_SIM_HISTORIES", "2000"))
# So many tests share them, so that a broken one is named while the others go on.
PARTS = 10


@pytest.mark.timeout(60 + HISTORIES // 5)
@pytest.mark.parametrize("part", range(PARTS))
def test_what_must_never_happen_does_not(part: int) -> None:
    for seed in range(BASE + part, BASE + HISTORIES, PARTS):
        run(seed)


@pytest.mark.parametrize("script", SCENARIOS, ids=lambda script: script.__name__)
def test_what_once_broke_holds(script: Script) -> None:
    run(0, script=script)


def test_seeds_that_once_broke_hold() -> None:
    for seed in SEEDS:
        run(seed)


@pytest.mark.timeout(60)
def test_a_seed_replays_exactly_in_another_process() -> None:
    """Also where sets are ordered differently: else a seed found in CI would be of no use."""
    told: list[str] = []
    for seed in (3, 12):
        run(seed, tell=told.append)
    command = [sys.executable, "-m", "tests.sim", "--verbose", "--seed"]
    for hash_seed in ("1", "2"):
        lines: list[str] = []
        for text in ("3", "12"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            done = subprocess.run([*command, text], env=environment, capture_output=True, text=True, check=True)
            lines += done.stdout.splitlines()[:-1]
        assert lines == told
