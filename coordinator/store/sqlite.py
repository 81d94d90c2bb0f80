"""The SQLite file in a data directory: its lock, and its settings for durability."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from coordinator.disk import Ballast
from coordinator.store.database import translated
from coordinator.store.lock import DirectoryLock
from coordinator.store.migrate import bring_up

log = structlog.get_logger(__name__)

FILE = "coordinator.db"

# How long to wait for a reader's lock, such as a backup's; ours is the only writer.
_BUSY_SECONDS = 10


class SqliteFile:
    """The database in a data directory, which it locks."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreBusy when another coordinator is there, StoreTooNew, StoreFull, or StoreError."""
        file = directory / FILE
        self._url = URL.create("sqlite", database=str(file))
        self._lock = DirectoryLock(directory)
        try:
            self._ballast = Ballast(directory)
            make_private(file)
            self._engine = sqlite_engine(file)
            self._connection = self._connect()
        except BaseException:
            self._lock.release()
            raise

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return self._engine.dialect

    def _connect(self) -> Connection:
        with translated(self._url):
            connection = self._engine.connect()
            try:
                with connection.begin():
                    bring_up(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """See ``Database``."""
        with translated(self._url), self._connection.begin():
            yield self._connection
        self._ballast.take()

    def make_room(self) -> bool:
        """See ``Database``."""
        dropped = self._ballast.drop()
        if dropped:
            log.warning("disk.full", database=str(self._url.database), hint="free some space: what was held is in use")
        return dropped

    def close(self) -> None:
        """See ``Database``."""
        self._connection.close()
        self._engine.dispose()
        self._lock.release()


def sqlite_engine(file: Path) -> Engine:
    """An engine for a database file, opened on first use."""
    # Used by the writer's thread only, but opened and closed by the one that starts and stops the coordinator.
    options = {"check_same_thread": False, "timeout": _BUSY_SECONDS, "isolation_level": None}
    url = URL.create("sqlite", database=str(file))
    engine = create_engine(url, poolclass=NullPool, connect_args=options)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # The driver's own BEGIN leaves schema changes outside the transaction: a migration must be all or nothing.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def make_private(file: Path) -> None:
    """Create the SQLite file, whose log takes its mode, for its owner only: it holds users' environments and hashes."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
