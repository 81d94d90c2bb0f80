"""Real `coordinator` and `agent` processes: started, watched, stopped by pid, their output kept for failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
# What a login on a host gives. The tests' own environment must not reach the programs.
PATH = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What tests/conftest.py says of all agents.
OURS = ("RALLYPOINT_AGENT_CONTAINERS", "RALLYPOINT_AGENT_TASK_USER")
STOP_SECONDS = 20.0


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a login with ``home``, and ``more``."""
    ours = {name: os.environ[name] for name in OURS if name in os.environ}
    return {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", **ours, **(more or {})}


@dataclass(slots=True)
class Program:
    """A long-running program; its output goes to ``log``, after what earlier runs wrote there."""

    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Of the current run."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again."""
        assert self._process is None, f"{self.command} runs already"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
            )

    def ended(self) -> int | None:
        """Its exit code once it has ended by itself."""
        return None if self._process is None else self._process.poll()

    def restart(self, more: Mapping[str, str]) -> None:
        """Start it again once it has ended by itself, with ``more`` in its environment."""
        assert self.ended() is not None, f"{self.command} has not ended"
        self._process = None
        base, self.env = self.env, {**self.env, **more}
        try:
            self.start()
        finally:
            self.env = base

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self._end(signal.SIGKILL, 5.0)

    def stop(self) -> int:
        """SIGTERM; its exit code. A program that does not end within ``STOP_SECONDS`` fails the test."""
        return self._end(signal.SIGTERM, STOP_SECONDS)

    def _end(self, number: signal.Signals, seconds: float) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"{' '.join(self.command)} did not end within {seconds:g} s of {number.name}")

    def tail(self, lines: int = 60) -> str:
        """The end of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def lives(pid: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def kill_all_under(folder: Path) -> None:
    """Kill what still runs on behalf of ``folder`` (tasks outlive their agents on purpose): it is in their words."""
    mark = str(folder).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(path.parent.name)
        with suppress(OSError):
            ours = mark in path.read_bytes() or mark in path.with_name("environ").read_bytes()
            if ours and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
