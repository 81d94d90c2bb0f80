"""Taking a backup, also of a coordinator that runs.

The database is copied first, as it stood at one moment; files only grow or come, so that what is copied after it holds
at least what the database knows of. Output of jobs that came later is left out.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rallypoint.version import __version__

from coordinator.backup.errors import BackupError
from coordinator.backup.manifest import AT, DATABASE, NAME, Manifest, Member
from coordinator.disk import room_for, sync_directories
from coordinator.gaps import gaps_path, kept_ranges, load_gaps, to_json

_SINGLE = ("admin.toml", "coordinator.toml", "endpoints.json")
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The backup's file, and what is in it."""

    path: Path
    size: int
    manifest: Manifest


def default_name(now: float) -> str:
    """Of a backup for which no name was given."""
    return time.strftime("rallypoint-%Y%m%d-%H%M%S.tar", time.gmtime(now))


def take(data_dir: Path, output: Path, *, logs: bool, database: bool, now: float) -> Taken:
    """Write a backup of ``data_dir`` to ``output``, whole or not at all, for its owner only.

    ``database`` False: it is elsewhere, and left out. Raises BackupError, DiskFull, and OSError when it can't be
    written.
    """
    if not (data_dir / "ca" / "ca.pem").exists():
        raise BackupError(f"{data_dir} is no coordinator's data directory; name it with --data-dir")
    if output.exists() and not output.is_file():
        # A device or a directory: to put a file in its place would be the end of it.
        raise BackupError(f"{output} is no file, and a backup takes the place of what is there; name a file")
    if not output.parent.is_dir():
        raise BackupError(f"there is no directory {output.parent} for the backup; make it, or name another file")
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file, room_for("the backup", output.parent):
            manifest = _write(file, output.parent, data_dir, logs=logs, database=database, now=now)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, output)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directories(output.parent)
    return Taken(output, output.stat().st_size, manifest)


def _write(file: BinaryIO, beside: Path, data_dir: Path, *, logs: bool, database: bool, now: float) -> Manifest:
    with tarfile.open(fileobj=file, mode="w") as tar, tempfile.TemporaryDirectory(dir=beside) as work:
        members: dict[str, Member] = {}
        schema, jobs = "", None
        if database:
            copy = Path(work) / DATABASE
            schema, jobs = _copy_database(data_dir / DATABASE, copy)
            members[DATABASE] = _add(tar, DATABASE, copy)
        for path in _files(data_dir, jobs, logs=logs):
            # The output of an old job may go just now, with the job.
            with suppress(FileNotFoundError):
                name = path.relative_to(data_dir).as_posix()
                if path.suffix == ".log":
                    members |= _add_log(tar, name, path)
                else:
                    members[name] = _add(tar, name, path)
        manifest = Manifest(__version__, now, _join(data_dir), schema, logs, members)
        text = manifest.to_json()
        tar.addfile(_entry(NAME, len(text), now), io.BytesIO(text))
        return manifest


def _copy_database(source: Path, copy: Path) -> tuple[str, set[str]]:
    """Copy the database as it stands now; its schema, and the ids of its jobs."""
    if not source.exists():
        raise BackupError(f"there is no database {source}; where it is PostgreSQL, give --database-url, as to serve")
    copy.touch(0o600)
    try:
        with closing(sqlite3.connect(source, timeout=_BUSY_SECONDS)) as live, closing(sqlite3.connect(copy)) as taken:
            live.backup(taken)
            # One file: what is restored has no log beside it.
            taken.execute("PRAGMA journal_mode=DELETE")
            ((schema,),) = taken.execute("SELECT version_num FROM alembic_version").fetchall()
            return schema, {job for (job,) in taken.execute("SELECT id FROM jobs")}
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            # Of the copy: nothing is written to the database itself.
            raise OSError(errno.ENOSPC, "no space is left") from error
        raise BackupError(f"database {source} can't be copied: {error}") from error


def _files(data_dir: Path, jobs: set[str] | None, *, logs: bool) -> Iterator[Path]:
    yield from sorted(path for path in (data_dir / "ca").iterdir() if path.is_file() and path.suffix == ".pem")
    yield from (data_dir / name for name in _SINGLE if (data_dir / name).is_file())
    archives = data_dir / "archives"
    yield from (path for path in sorted(archives.glob("??/*")) if path.is_file())
    if logs:
        for folder in sorted((data_dir / "logs").glob("j-*")):
            if jobs is None or folder.name in jobs:
                yield from sorted(folder.glob("*/*.log"))


def _add(tar: tarfile.TarFile, name: str, path: Path) -> Member:
    """Add what the file holds now; it may grow meanwhile."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        reader = _Hashed(file)
        tar.addfile(_entry(name, status.st_size, status.st_mtime), reader)
    return Member(status.st_size, reader.digest.hexdigest())


def _add_log(tar: tarfile.TarFile, name: str, path: Path) -> dict[str, Member]:
    """Add what is kept of a log: it may have holes of any size."""
    members: dict[str, Member] = {}
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        ranges = list(kept_ranges(load_gaps(gaps_path(path), status.st_size), status.st_size))
        whole = ranges == [(0, status.st_size)]
        for start, end in ranges:
            part = name if whole else f"{name}{AT}{start}"
            file.seek(start)
            reader = _Hashed(file)
            tar.addfile(_entry(part, end - start, status.st_mtime), reader)
            members[part] = Member(end - start, reader.digest.hexdigest())
    # Afterwards: what was dropped meanwhile was read as zeros, and is a gap now.
    gaps = load_gaps(gaps_path(path), status.st_size)
    if gaps:
        text, part = to_json(gaps), gaps_path(Path(name)).as_posix()
        tar.addfile(_entry(part, len(text), status.st_mtime), io.BytesIO(text))
        members[part] = Member(len(text), hashlib.sha256(text).hexdigest())
    return members


def _entry(name: str, size: int, mtime: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, int(mtime), 0o600
    return entry


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _join(data_dir: Path) -> str:
    """Which coordinator this is a backup of, for people."""
    try:
        return str(json.loads((data_dir / "endpoints.json").read_bytes()).get("join", ""))
    except (OSError, ValueError, AttributeError):
        return ""
