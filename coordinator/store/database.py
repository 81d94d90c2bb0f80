"""What databases have in common: their URLs, and what their errors mean to the coordinator."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from coordinator.store.api import StoreError, StoreFull

_POSTGRES_DISK_FULL = "53100"


def postgres_url(text: str) -> URL:
    """The URL of a PostgreSQL database. Raises StoreError for another kind."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise StoreError("the database URL can't be read; write postgresql://USER@HOST/DATABASE") from None
    if url.drivername == "postgres":
        url = url.set(drivername="postgresql")
    if url.get_backend_name() != "postgresql":
        kind = url.get_backend_name()
        raise StoreError(f"a database of kind {kind!r} can't be used; write postgresql://USER@HOST/DATABASE, or none")
    return url.set(drivername="postgresql+psycopg")


def place_of(url: URL) -> str:
    """The database as people may see it: no password, and none of the URL's options, which may hold one."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return shown.render_as_string()


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the driver's errors into StoreError or StoreFull, which name the database but never its password."""
    try:
        yield
    except DBAPIError as error:
        where = place_of(url)
        reason = " ".join(str(error.orig).split())
        if _disk_full(error.orig, url):
            raise StoreFull(f"no space is left for database {where} ({reason}); free some, then repeat") from error
        raise StoreError(f"database {where} failed: {reason}") from error


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
