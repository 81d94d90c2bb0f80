"""A real spawner process and the daemon's end of its socket, one message at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.spawner import procs, wire
from agent.spawner.journal import read_journal
from tests.support import eventually

Message = dict[str, Any]
PATH = "/usr/local/bin:/usr/bin:/bin"


class SpawnerClient:
    """Talks to the spawner of ``directory``; starts one when told."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.snapshot: dict[str, Message] = {}
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._news: list[Message] = []

    def start(self) -> None:
        """Start a spawner and connect."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.spawner", "--state-dir", str(self.directory), *self._options],
            start_new_session=True,
        )
        self.connect()

    def connect(self) -> None:
        """Connect, as a daemon that was started anew."""
        self._socket = eventually(self._try, what="spawner's socket")
        self._decoder = wire.Decoder()
        self._news = []
        self.snapshot = self.next("snapshot")["records"]

    def _try(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        try:
            connection.connect(str(self.directory / wire.SOCKET))
        except OSError:
            connection.close()
            return None
        return connection

    def disconnect(self) -> None:
        """As a daemon that was killed."""
        assert self._socket is not None
        self._socket.close()

    def spawner_pid(self) -> int | None:
        """Of the spawner itself; ``process`` is the reaper above it."""
        assert self.process is not None
        return spawner_below(self.process.pid)

    def kill(self) -> None:
        """``kill -9`` for the spawner and, so that nothing is known of what ends now, for the reaper above it."""
        assert self.process is not None
        kill_spawner(self.directory)
        self.process.wait()
        self.disconnect()

    def kill_spawner(self) -> None:
        """``kill -9`` for the spawner alone, and connect to the next one."""
        spawner = self.spawner_pid()
        assert spawner is not None
        os.kill(spawner, signal.SIGKILL)
        self.disconnect()
        eventually(lambda: self.spawner_pid() not in (None, spawner), what="a new spawner")
        self.connect()

    def send(self, *orders: Message) -> None:
        """Give orders."""
        assert self._socket is not None
        self._socket.sendall(wire.encode(list(orders)))

    def spawn(self, key: str, *argv: str, **fields: Any) -> None:
        """Order a task; with one argument it is for a shell."""
        command = ["sh", "-c", argv[0]] if len(argv) == 1 else list(argv)
        order = {
            "op": "spawn",
            "id": key,
            "argv": command,
            "env": {"PATH": PATH},
            "cwd": str(self.directory),
            "log": str(self.directory / f"{key}.log"),
            "signal": "TERM",
            "grace": 5.0,
            "limit": None,
        }
        self.send({**order, **fields})

    def stop(self, key: str, name: str = "TERM", grace: float = 5.0) -> None:
        """Order a stop."""
        self.send({"op": "stop", "id": key, "signal": name, "grace": grace, "cause": "stopped", "reason": "asked to"})

    def next(self, event: str, key: str = "") -> Message:
        """The next news of that kind (and task); others before it are passed over."""
        assert self._socket is not None
        while True:
            while self._news:
                news = self._news.pop(0)
                if news["ev"] == event and (not key or news["id"] == key):
                    return news
            self._news += self.hear()

    @property
    def socket(self) -> socket.socket:
        """The open connection."""
        assert self._socket is not None
        return self._socket

    def hear(self) -> list[Message]:
        """The next piece of news, as soon as there is some."""
        data = self.socket.recv(1 << 16)
        assert data, "the spawner closed the connection"
        return self._decoder.feed(data)

    def record(self, key: str) -> Message:
        """What the spawner's journal has of a task."""
        return read_journal(str(self.directory / "spawner.journal"))[key]

    def end_of(self, key: str) -> Message:
        """How a task ended: from the snapshot, or else from the news."""
        record = self.snapshot.get(key, {})
        return record if "at_end" in record else self.next("exited", key)

    def output(self, key: str) -> str:
        """A task's output, as soon as it ends with a whole line."""
        path = self.directory / f"{key}.log"
        return eventually(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text(), what="output")


def spawners_of(directory: Path) -> list[int]:
    """The reaper of this state directory, its spawner, and one that is about to become either; oldest first."""
    found = []
    for pid in sorted(procs.everything()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"agent.spawner" in words and str(directory).encode() in words:
                found.append(pid)
    return found


def kill_spawner(directory: Path) -> None:
    """``kill -9`` for the spawner and its reaper, and for what they are just starting; tasks go on."""

    def none_left() -> bool:
        left = spawners_of(directory)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    eventually(none_left, what="end of the spawner")


def spawner_below(reaper: int) -> int | None:
    """The spawner whose reaper has this pid, if it lives."""
    for process in procs.everything().values():
        with contextlib.suppress(OSError):
            if process.parent == reaper and Path(f"/proc/{process.pid}/comm").read_text() == "task-spawner\n":
                return process.pid
    return None


@contextmanager
def spawner(directory: Path, *options: str) -> Iterator[SpawnerClient]:
    """A running spawner, gone afterwards with all its tasks."""
    os.chmod(directory, 0o700)
    client = SpawnerClient(directory, *options)
    client.start()
    try:
        yield client
    finally:
        if client.process is not None and client.process.poll() is None:
            client.kill()
        elif client.process is not None:
            client.disconnect()
        end_marked(directory)


def end_marked(directory: Path) -> None:
    """End all tasks of the spawner of ``directory``, which does not live any more."""
    place = directory.stat()
    mark = f"{place.st_dev:x}-{place.st_ino:x}/"
    for pid in procs.everything():
        if procs.mark_of(pid).startswith(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
