"""Opening the database: which engine, its settings for durability, and what its errors mean to the coordinator."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from coordinator.store.api import StoreError, StoreFull

FILE = "coordinator.db"

# How long to wait for a reader's lock, such as a backup's; ours is the only writer.
_BUSY_SECONDS = 10

_POSTGRES_DISK_FULL = "53100"


def database_url(directory: Path, text: str | None) -> URL:
    """The database to use: ``text``, or the SQLite file in ``directory``. Raises StoreError for another kind."""
    if text is None:
        return URL.create("sqlite", database=str(directory / FILE))
    try:
        url = make_url(text)
    except ArgumentError:
        raise StoreError("the database URL can't be read; write postgresql://USER@HOST/DATABASE") from None
    if url.get_backend_name() != "postgresql":
        kind = url.get_backend_name()
        raise StoreError(f"a database of kind {kind!r} can't be used; write postgresql://USER@HOST/DATABASE, or none")
    return url.set(drivername="postgresql+psycopg")


def open_engine(url: URL) -> Engine:
    """An engine for ``url``, connected to on first use. Raises StoreError when its driver is not installed."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    try:
        # Positional parameters, as SQLite has them, so that one form of row serves both.
        return create_engine(url, poolclass=NullPool, paramstyle="format")
    except (ModuleNotFoundError, NoSuchModuleError):
        raise StoreError("PostgreSQL needs psycopg; install it with: pip install 'psycopg[binary]'") from None


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the driver's errors into StoreError or StoreFull, which name the database but never its password."""
    try:
        yield
    except DBAPIError as error:
        where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        if _disk_full(error.orig, url):
            raise StoreFull(f"no space is left for database {where} ({reason}); free some, then repeat") from error
        raise StoreError(f"database {where} failed: {reason}") from error


def _sqlite_engine(url: URL) -> Engine:
    # Used by the writer's thread only, but opened and closed by the one that starts and stops the coordinator.
    options = {"check_same_thread": False, "timeout": _BUSY_SECONDS, "isolation_level": None}
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


def _disk_full(error: BaseException | None, url: URL) -> bool:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # The log's index file fails with a plain I/O error when it can't grow.
        return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(Path(url.database or ".")))
    return getattr(error, "sqlstate", None) == _POSTGRES_DISK_FULL


def _no_room(file: Path) -> bool:
    try:
        room = os.statvfs(file.parent)
    except OSError as error:
        return error.errno == errno.ENOSPC
    return room.f_bavail * room.f_frsize < 1 << 20


def make_private(file: Path) -> None:
    """Create the SQLite file, whose log takes its mode, for its owner only: it holds users' environments and hashes."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
