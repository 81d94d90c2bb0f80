"""Real `coordinator` and `agent` processes that start in a tenth of the time: forked from one that has imported all
they need. For tests that start hundreds, and for users' commands; imports are most of a start.

`python -m tests.multihost.nursery MODULE…` is that process, which has imported these: it reads a JSON order a line, and
answers each with a line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.multihost.processes import Program

# What the programs need, and what most commands of users do.
PROGRAMS = ("agent.daemon", "coordinator.service")
COMMANDS = ("coordinator.cli.group", "coordinator.client", "coordinator.cli.hosts", "coordinator.cli.show")


class Nursery:
    """Starts and reaps the processes, where ``enter`` leads; safe from several threads. All of them end with it."""

    def __init__(self, modules: Sequence[str] = PROGRAMS, enter: Sequence[str] = ()) -> None:
        command = [*enter, sys.executable, "-m", "tests.multihost.nursery", *modules]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()

    def program(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Program:
        """A program to be started in here."""
        return Newborn(command, env, log, self)

    def run(
        self, command: Sequence[str], env: Mapping[str, str], timeout: float, cwd: Path | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end: exit code, output and errors. Raises ``subprocess.TimeoutExpired``."""
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            here = str(cwd or Path.cwd())
            child = Child(self, self.ask(start=list(command), env=dict(env), out=out.name, err=err.name, cwd=here))
            try:
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise
            return code, out.read(), err.read()

    def ask(self, **order: Any) -> int:
        """Give an order; the number that answers it."""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and what still runs in it."""
        self._process.communicate()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Child:
    """The part of ``subprocess.Popen`` that ``Program`` needs."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        # Of a process that is not waited for before it was seen to end here: the number can't be another's.
        self._pidfd = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            if not select.select([self._pidfd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            self.returncode = self._nursery.ask(wait=self.pid)
            os.close(self._pidfd)
        return self.returncode


class Newborn(Program):
    """A program whose runs are forked from a nursery."""

    __slots__ = ("_nursery",)

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path, nursery: Nursery) -> None:
        super().__init__(command, env, log)
        self._nursery = nursery

    def start(self) -> None:
        """See ``Program``."""
        assert self._process is None, f"{self.command} runs already"
        pid = self._nursery.ask(
            start=list(self.command), env=dict(self.env), out=str(self.log), err=str(self.log), cwd="/"
        )
        child: Any = Child(self._nursery, pid)
        self._process = child


def _serve() -> None:
    for module in sys.argv[1:]:
        import_module(module)
    born: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            born.discard(order["wait"])
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _be(order)
        born.add(pid)
        print(pid, flush=True)
    for pid in born:
        os.kill(pid, signal.SIGKILL)


def _be(order: Any) -> None:
    """Become the program that ``order`` asks for, in this forked process."""
    code = 70
    try:
        out, err = (os.open(order[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) for name in ("out", "err"))
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = order["start"]
        name = Path(order["start"][0]).name
        if name == "coordinator":
            from coordinator.cli.main import run
        else:
            from agent.cli import run
        code = run() or 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
