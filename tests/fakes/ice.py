"""Processes that no signal ends, not even SIGKILL: frozen by a version 1 control group, until they are thawed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import eventually, missing

FREEZER = Path("/sys/fs/cgroup/freezer")


class Ice:
    """A frozen version 1 group: what is in it takes no signal before it is thawed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def freeze(self, pid: int) -> None:
        """Take a process in."""
        (self._path / "freezer.state").write_text("THAWED")
        (self._path / "cgroup.procs").write_text(str(pid))
        (self._path / "freezer.state").write_text("FROZEN")
        eventually(lambda: (self._path / "freezer.state").read_text() == "FROZEN\n", what="frost")

    def thaw(self) -> None:
        """Let all go."""
        (self._path / "freezer.state").write_text("THAWED")


@contextmanager
def ice() -> Iterator[Ice]:
    """A group to freeze processes in, gone afterwards."""
    path = FREEZER / f"test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        missing("a writable freezer group", f"run the tests as root with cgroup v1 'freezer' mounted ({error})")
    made = Ice(path)
    try:
        yield made
    finally:
        made.thaw()
        for pid in (path / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: not (path / "cgroup.procs").read_text(), what="end of the frozen")
        path.rmdir()
