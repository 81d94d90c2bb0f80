"""Putting a backup back: checked whole before anything is touched, and in place only when all of it is on disk.

The data directory may be a mount point, so that it is filled, not replaced: everything is laid ready in a folder in it,
whose presence keeps a coordinator from starting, and then moved up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from rallypoint.files import make_private_dir

from coordinator.backup.errors import BackupError
from coordinator.backup.manifest import AT, DATABASE, NAME, Manifest, read_manifest
from coordinator.backup.mark import STAGING, Mark
from coordinator.disk import room_for, sync_directories
from coordinator.store.lock import DirectoryLock
from coordinator.store.schema import HEAD

# What may lie in a data directory that counts as empty.
_NOTHING = {"coordinator.lock", "lost+found"}
_PIECE = 1 << 20


def put_back(backup: Path, data_dir: Path, *, force: bool) -> Manifest:
    """Make ``data_dir`` what the backup says. ``force``: what is there is moved aside, into a folder in it.

    Raises BackupError, StoreBusy when a coordinator runs there, DiskFull, and OSError.
    """
    with _opened(backup) as tar:
        manifest = _manifest_of(tar, backup)
        make_private_dir(data_dir)
        lock = DirectoryLock(data_dir)
        try:
            there = [path for path in data_dir.iterdir() if path.name not in _NOTHING]
            if there and not force:
                raise BackupError(
                    f"{data_dir} is not empty; choose another --data-dir, or give --force, which moves what is there"
                    " into a folder in it"
                )
            _replace(tar, backup, manifest, data_dir, there)
        finally:
            lock.release()
    return manifest


@contextmanager
def _opened(backup: Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(backup, "r:")  # noqa: SIM115 -- closed below
    except tarfile.TarError:
        raise _damaged(backup, "it is no backup") from None
    with tar:
        yield tar


def _manifest_of(tar: tarfile.TarFile, backup: Path) -> Manifest:
    try:
        entry = tar.getmember(NAME)
        content = tar.extractfile(entry)
        assert content is not None
        return read_manifest(content.read(), HEAD)
    except (tarfile.TarError, KeyError, OSError, AssertionError):
        raise _damaged(backup, "it has no manifest, which is written last") from None


def _damaged(backup: Path, why: str) -> BackupError:
    return BackupError(f"{backup} is cut off or damaged: {why}; use another backup")


def _replace(tar: tarfile.TarFile, backup: Path, manifest: Manifest, data_dir: Path, there: list[Path]) -> None:
    staging = data_dir / STAGING
    cut_off = staging.exists()
    make_private_dir(staging)
    try:
        _clear(staging)
        with room_for("the backup's content", data_dir):
            _lay_ready(tar, backup, manifest, staging)
            Mark(manifest.created_at).write(staging)
            # All files and names at once: one by one, thousands of small logs took a minute.
            os.sync()
    except BaseException:
        if not cut_off:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    # From here on a coordinator can start only once all is done.
    _move([path for path in there if path != staging], data_dir / time.strftime("before-restore-%Y%m%d-%H%M%S"))
    _move(list(staging.iterdir()), data_dir)
    staging.rmdir()
    sync_directories(data_dir)


def _clear(directory: Path) -> None:
    # The folder itself stays: it is the mark of what is not complete.
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _lay_ready(tar: tarfile.TarFile, backup: Path, manifest: Manifest, staging: Path) -> None:
    # By name at once: a tar file looks each name up from the beginning.
    entries = {entry.name: entry for entry in tar}
    for name, member in manifest.members.items():
        place, _, offset = name.partition(AT)
        path = staging / place
        for parent in reversed(path.parents):
            if parent.is_relative_to(staging):
                parent.mkdir(mode=0o700, exist_ok=True)
        try:
            content = tar.extractfile(entries[name])
            size, sha256 = _copy(content, path, int(offset or 0)) if content is not None else (-1, "")
        except (tarfile.TarError, KeyError, ValueError):
            raise _damaged(backup, f"{name} can't be read") from None
        if (size, sha256) != (member.size, member.sha256):
            raise _damaged(backup, f"{name} is not what was put in")
    if manifest.schema:
        _check_database(staging / DATABASE, backup)


def _copy(content: IO[bytes], path: Path, offset: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | (0 if offset else os.O_EXCL) | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.seek(offset)
        while piece := content.read(_PIECE):
            digest.update(piece)
            size += file.write(piece)
    return size, digest.hexdigest()


def _check_database(path: Path, backup: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as database:
            ((verdict,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    except (sqlite3.Error, ValueError) as error:
        raise _damaged(backup, f"its database can't be read ({error})") from None
    if verdict != "ok":
        raise _damaged(backup, f"its database is inconsistent ({verdict})")


def _move(paths: list[Path], into: Path) -> None:
    if paths:
        make_private_dir(into)
    for path in paths:
        path.rename(into / path.name)
