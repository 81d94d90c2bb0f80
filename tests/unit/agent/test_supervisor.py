"""The supervisor's process with programs in the agent's place that behave badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.supervisor.standing import Standing, read_standing
from tests.fakes.agent_process import lives
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)

# Says that it is ready, and then nothing more.
FREEZES = """
import os, signal, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
    name = os.environ["NOTIFY_SOCKET"]
    mouth.connect("\\0" + name[1:] if name.startswith("@") else name)
    mouth.send(b"READY=1")
    signal.pause()
"""
DEAF = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"


@contextmanager
def supervisor(state: Path, *options: str, command: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "agent.supervisor", "--state-dir", str(state), *options, "--", *command]
    with subprocess.Popen(words) as process:
        try:
            yield process
        finally:
            agent = standing(state).agent
            process.kill()
            if agent and lives(agent):
                os.kill(agent, signal.SIGKILL)


def standing(state: Path) -> Standing:
    return read_standing(state) or Standing(0, "")


def reached(state: Path, wanted: str, restarts: int) -> Standing:
    def found() -> Standing | None:
        now = standing(state)
        return now if now.phase == wanted and now.restarts >= restarts else None

    return eventually(found, what=f"{wanted} after {restarts} restarts")


def test_one_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    with supervisor(tmp_path, "--watchdog", "0.5", command=(sys.executable, "-c", FREEZES)) as process:
        # Whichever it is: a busy machine may show only a later one.
        first = eventually(lambda: next((s for s in [standing(tmp_path)] if s.ready), None), what="a ready one")
        again = reached(tmp_path, "running", first.restarts + 1)
        assert again.agent != first.agent
        assert (again.last_code, lives(first.agent)) == (128 + signal.SIGKILL, False)
        process.terminate()
        assert process.wait(20) == 0
        assert not lives(again.agent)


def test_one_that_can_not_start_is_tried_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    with supervisor(tmp_path, command=("sh", "-c", "echo no; exit 3")) as process:
        second = reached(tmp_path, "waiting", 2)
        assert (second.last_code, second.agent) == (3, 0)
        assert 1.5 < second.next_start - second.last_end < 2.5
        # No pause keeps it from ending.
        process.terminate()
        assert process.wait(20) == 0
    assert standing(tmp_path).phase == "ended"
    assert (tmp_path / "agent.log").read_bytes() == b"no\nno\n"


def test_one_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with supervisor(tmp_path, command=(str(program),)) as process:
        assert "can't be started: No such file" in reached(tmp_path, "waiting", 1).says
        program.write_text("#!/bin/sh\nexec sleep 1000\n")
        program.chmod(0o700)
        agent = reached(tmp_path, "running", 1).agent
        process.send_signal(signal.SIGHUP)
        eventually(lambda: standing(tmp_path).agent not in (0, agent), what="the next one, at once")
        assert standing(tmp_path).restarts == 1, "to be told to is no failure"


def test_one_that_does_not_end_is_killed_and_seven_is_for_good(tmp_path: Path) -> None:
    with supervisor(tmp_path, "--stop-seconds", "0.3", command=("sh", "-c", DEAF)) as process:
        log = tmp_path / "agent.log"
        eventually(lambda: log.exists() and log.read_text() == "deaf\n", what="a deaf one")
        process.terminate()
        assert process.wait(20) == 0
    assert standing(tmp_path).last_code == 128 + signal.SIGKILL
    with supervisor(tmp_path, command=("sh", "-c", "exit 7")) as process:
        assert process.wait(20) == 7
    assert "has left its cluster" in standing(tmp_path).says


def test_a_log_that_floods_stays_within_its_bound(tmp_path: Path) -> None:
    flood = "while :; do echo 0123456789012345678901234567890123456789; done"
    with supervisor(tmp_path, "--log-limit", "20000", command=("sh", "-c", flood)):
        eventually(lambda: (tmp_path / "agent.log.1").exists(), what="a log that began anew")
    kept = (tmp_path / "agent.log.1").read_bytes()
    assert set(kept.splitlines()[1:-1]) == {b"0123456789" * 4}
