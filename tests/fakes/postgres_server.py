"""A real PostgreSQL server of the tests' own, on a free port of the loopback; it may be frozen, stopped and started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.support import eventually, missing

PASSWORD = "sesame-open-7"
OTHER_ADDRESS = "127.0.0.2"
"""Where the server answers too: what goes there can be cut off alone."""
_NUMBERS = count(1)
# What a crash of the machine would lose is not what these tests are about; a crash of a coordinator is.
_SETTINGS = (
    *("fsync=off", "shared_buffers=32MB", "max_connections=60", "autovacuum=off", "unix_socket_directories="),
    f"listen_addresses=127.0.0.1,{OTHER_ADDRESS}",
)


@dataclass(slots=True)
class Server:
    """A server whose data are in ``folder``."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """Of a database, for a coordinator."""
        return f"postgresql://rally:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, or start it again; returns when it answers."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = [str(_binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = _run_as(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        eventually(self._answers, what="a PostgreSQL server that answers")

    def stop(self) -> None:
        """End it at once, and every connection to it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def ask(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement from outside, on its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(query.encode())
            return found.fetchall() if found.description else []

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"rally{next(_NUMBERS)}"
        self.ask(f"CREATE DATABASE {name}")
        return name

    def emptied(self) -> str:
        """The name of the one database that everybody empties before use: a new one costs a second and 8 MB."""
        self.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return "postgres"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False


@contextmanager
def running() -> Iterator[Server]:
    """A new server, ended and cleared away at the end. Skips the test where PostgreSQL is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="rallypoint-pg-"))
    try:
        server = _made(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Server:
    words = folder / "password"
    words.write_text(PASSWORD)
    if _account() is not None:
        for path in (folder, words):
            shutil.chown(path, _account())
    command = [str(_binaries() / "initdb"), "-D", str(folder / "data"), "-U", "rally", "-E", "UTF8", "--locale=C"]
    made = _run_as([*command, "-A", "scram-sha-256", f"--pwfile={words}", "-N"], stdout=subprocess.PIPE, cwd="/")
    said, _ = made.communicate(timeout=60)
    assert made.returncode == 0, said.decode()
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Server(folder, free.getsockname()[1])


def _run_as(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """PostgreSQL refuses to run as root."""
    account = _account()
    return subprocess.Popen(
        command, user=account, group=account and _group(account), extra_groups=account and [], **options
    )


def _account() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


def _group(account: str) -> int:
    import pwd

    return pwd.getpwnam(account).pw_gid


@cache
def _binaries() -> Path:
    found = shutil.which("initdb")
    if found is not None and shutil.which("postgres") is not None:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not installed:
        missing("PostgreSQL's server", "install the package postgresql")
    return installed[-1].parent
