"""Failpoints: off unless asked for, each in the program that it names, every name in use."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rallypoint.failpoints import NAMES, VARIABLE, BadFailpoint, arm, armed, reach

ROOT = Path(__file__).parents[3]

COUNTING = """
import os, sys
from rallypoint.failpoints import arm, reach
arm(sys.argv[1], os.environ)
for number in range(5):
    print(number, flush=True)
    reach("agent.before-order")
    reach("spawner.after-spawn")
"""


def counted(program: str, failpoint: str) -> tuple[int, int]:
    """How a program ended, and how far it came."""
    command = [sys.executable, "-c", COUNTING, program]
    done = subprocess.run(command, env={VARIABLE: failpoint}, stdout=subprocess.PIPE, check=False)
    return done.returncode, len(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "failpoint", "ends"),
    [
        ("agent", "", (0, 5)),
        ("agent", "agent.before-order", (-signal.SIGKILL, 1)),
        ("agent", "agent.before-order:3", (-signal.SIGKILL, 3)),
        ("agent", "agent.before-order:6", (0, 5)),
        ("agent", "spawner.after-spawn:2", (0, 5)),
        ("spawner", "spawner.after-spawn:2", (-signal.SIGKILL, 2)),
        ("spawner", "agent.before-order", (0, 5)),
    ],
)
def test_a_process_dies_at_its_own_place_and_time(program: str, failpoint: str, ends: tuple[int, int]) -> None:
    assert counted(program, failpoint) == ends


@pytest.mark.parametrize(
    ("program", "failpoint"),
    [
        ("coordinator", "agent.before-order"),
        ("agent", "coordinator.before-commit"),
        ("spawner", "spawner.nowhere"),
        ("agent", "agent.before-order:0"),
        ("agent", "agent.before-order:often"),
    ],
)
def test_what_is_no_place_of_the_program_is_refused_with_those_that_are(program: str, failpoint: str) -> None:
    own = next(name for name in NAMES if name.startswith(program))
    with pytest.raises(BadFailpoint, match=f"{VARIABLE}={failpoint}: write NAME or NAME:TIMES, .*{own}"):
        arm(program, {VARIABLE: failpoint})
    # Nothing is armed now: the test lives on.
    reach(failpoint)
    assert not armed(failpoint)


def test_the_commands_refuse_it_at_their_start(tmp_path: Path) -> None:
    for module, words in (("coordinator", ("serve", "--data-dir")), ("agent", ("run", "--state-dir"))):
        command = [sys.executable, "-m", module, *words, str(tmp_path / module)]
        done = subprocess.run(command, env={VARIABLE: "engine"}, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == {"coordinator": 78, "agent": 2}[module], done.stderr
        assert f"{VARIABLE}=engine: write NAME" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_every_name_stands_at_one_place_of_its_program() -> None:
    """A name without a place would make a test that can't fail, a place without a name could never be armed."""
    used: list[str] = []
    for program in ("coordinator", "agent"):
        for path in (ROOT / program).rglob("*.py"):
            found = re.findall(r'"((?:coordinator|agent|spawner|upgrade)\.(?:before|after)-[a-z-]+)"', path.read_text())
            families = ("agent.", "spawner.", "upgrade.") if program == "agent" else (program,)
            assert all(name.startswith(families) for name in found)
            used += found
    assert sorted(used) == sorted(NAMES)
