"""The agent's process as its supervisor holds it: its own child, or one that an earlier supervisor left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Protocol

from agent.lock import AGENT_LOCK, holder
from agent.spawner import procs
from agent.supervisor.rotation import open_log
from agent.supervisor.standing import LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Child(Protocol):
    """A process that can be signalled and that ends."""

    @property
    def pid(self) -> int:
        """Its pid."""

    def ended(self) -> bool:
        """Whether it is over."""

    @property
    def code(self) -> int | None:
        """Once it is over: its exit code (128 + signal, as shells say it); None: nobody knows."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it is over."""


class Own:
    """A child of this process, writing to the log in the state directory. Raises OSError where it can't be started."""

    def __init__(self, state_dir: Path, command: Sequence[str], environ: Mapping[str, str]) -> None:
        log = open_log(state_dir / LOG_FILE)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        finally:
            os.close(log)
        self.pid = self._process.pid

    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    @property
    def code(self) -> int | None:
        """Its exit code, 128 + the signal that ended it."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)


class Adopted:
    """An agent that outlived its supervisor: nobody will learn its exit code."""

    code: int | None = None

    def __init__(self, pid: int, start: int) -> None:
        self.pid = pid
        self._start = start

    def ended(self) -> bool:
        """Whether it is over."""
        seen = procs.look(self.pid)
        return seen is None or not seen.alive or seen.start != self._start

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless another process may have its pid by now."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def left_behind(state_dir: Path) -> Adopted | None:
    """The agent that uses the state directory already, if one does."""
    pid = holder(state_dir / AGENT_LOCK)
    seen = procs.look(pid) if pid else None
    return Adopted(seen.pid, seen.start) if seen is not None and seen.alive else None
