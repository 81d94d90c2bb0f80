"""The daemon's end of the spawner's socket: starts the spawner when there is none, and never loses an order's order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rallypoint.failpoints import reach

from agent.closed import for_owner
from agent.spawner import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.spawner.wire import Message

log = structlog.get_logger()

START_SECONDS = 15.0


class SpawnerFailed(Exception):
    """The spawner could not be started: the message names its log."""


class Runner:
    """Client of the spawner of ``state_dir``; ``on_news`` gets every message of it, first of all a snapshot.

    ``options`` are for one that has to be started.
    """

    def __init__(self, state_dir: Path, on_news: Callable[[list[Message]], None], options: Sequence[str] = ()) -> None:
        self._dir = state_dir
        self._options = options
        self._on_news = on_news
        self._orders: list[Message] = []
        self._writer: asyncio.StreamWriter | None = None
        self.greeted = asyncio.Event()

    def send(self, order: Message) -> None:
        """Give an order; all orders of one turn of the loop go in one message.

        An order given while there is no spawner is dropped: the next snapshot shows that it was not carried out.
        """
        if not self._orders:
            asyncio.get_running_loop().call_soon(self._flush)
        self._orders.append(order)

    def _flush(self) -> None:
        orders, self._orders = self._orders, []
        if self._writer is not None:
            reach("agent.before-order")
            self._writer.write(wire.encode(orders))
            reach("agent.after-order")

    async def run(self) -> None:
        """Keep in contact until cancelled, with a new spawner if the old one dies.

        Raises:
            SpawnerFailed: it doesn't start.
        """
        while True:
            reader, writer = await self._connect()
            try:
                await self._listen(reader, writer)
            finally:
                self._writer = None
                writer.close()
            log.warning("spawner.lost", hint="a new one is started; tasks go on")

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = wire.Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                news = decoder.feed(data)
                if news and news[0]["ev"] == "snapshot":
                    self._writer = writer
                if news:
                    self._on_news(news)
                    self.greeted.set()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        child: subprocess.Popen[bytes] | None = None
        while True:
            try:
                # Through the directory's descriptor, since a socket's path may have 107 bytes only.
                folder = os.open(self._dir, os.O_PATH | os.O_DIRECTORY)
                try:
                    return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{wire.SOCKET}", limit=1 << 20)
                finally:
                    os.close(folder)
            except (FileNotFoundError, ConnectionRefusedError):
                # Where one serves but is not yet back, its reaper is about to start the next.
                if (child is None or child.poll() is not None) and not self._is_served():
                    child = self._start()
            if asyncio.get_running_loop().time() > deadline:
                raise SpawnerFailed(f"the spawner does not start; see {self._dir / 'spawner.log'}")
            await asyncio.sleep(0.02)

    def _is_served(self) -> bool:
        """Whether a spawner, or the reaper above it, has the state directory."""
        try:
            lock = os.open(self._dir / wire.LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self._dir / "spawner.log", "ab", opener=for_owner) as output:
            return subprocess.Popen(
                [sys.executable, "-m", "agent.spawner", "--state-dir", str(self._dir), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # Where this package is, even if it is not installed; it goes to the state directory by itself.
                cwd=Path(__file__).parent.parent,
            )


def unix_listener(directory: Path, name: str) -> socket.socket:
    """A listening Unix socket ``name`` in ``directory``, whatever the length of the path; an older one is replaced."""
    (directory / name).unlink(missing_ok=True)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{name}")
    finally:
        os.close(folder)
    listener.listen(64)
    listener.setblocking(False)
    return listener
