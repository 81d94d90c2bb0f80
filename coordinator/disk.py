"""What the coordinator's files have in common: names that last, and a full disk told as one."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coordinator.core.errors import Refused


class DiskFull(Refused):
    """No space is left on the coordinator's disk; free some, then repeat."""

    reason = "DISK_FULL"


@contextmanager
def room_for(what: str, directory: Path) -> Iterator[None]:
    """Raise DiskFull, naming ``what`` was to be stored where, instead of the system's error for no space or quota."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space is left for {what} in {directory}; free some, then repeat") from error
        raise


# Kept free of new jobs, so that what was accepted can go on: ends, stops and output need room too.
RESERVE_BYTES = 64 * 1024 * 1024


# With less than this free no output is taken, which its hosts keep and repeat: the rest is for ends and stops.
OUTPUT_FLOOR_BYTES = 16 * 1024 * 1024
# Held by a file for the database, and given back when something else has filled the disk to the last byte.
BALLAST_BYTES = 8 * 1024 * 1024
# A start writes a few small files.
_START_BYTES = 1024 * 1024


class Ballast:
    """A file that takes room while there is plenty, to have some when there is none. For one thread at a time."""

    def __init__(self, directory: Path) -> None:
        """Takes its room, or gives it back where a start could fail for want of it."""
        self._path = directory / "reserve"
        self._held = self._path.exists()
        if _free(directory) < _START_BYTES:
            self.drop()
        self.take()

    def take(self) -> None:
        """Hold the room, unless it is held or the disk is nearly full; harmless to try."""
        if self._held or _free(self._path.parent) < RESERVE_BYTES + BALLAST_BYTES:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, BALLAST_BYTES)
            self._held = True
        except OSError:
            # No such thing on this file system, or filled up meanwhile: better no ballast than no coordinator.
            self.drop()
        finally:
            os.close(handle)

    def drop(self) -> bool:
        """Give the room back; False when there was none to give."""
        self._held = False
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True


def _free(directory: Path) -> int:
    usage = shutil.disk_usage(directory)
    # Some file systems tell no size at all (ramfs, some FUSE ones): they are full when a write says so.
    return usage.free if usage.total else sys.maxsize


def require_room_for_output(directory: Path, floor: int) -> None:
    """Raise DiskFull when less than ``floor`` bytes are free where ``directory`` lies."""
    free = _free(directory)
    if free < floor:
        raise DiskFull(f"{free >> 20} MiB are left for output in {directory}, and kept for ends of jobs; free some")


def require_reserve(directory: Path) -> None:
    """Raise DiskFull when less than ``RESERVE_BYTES`` is free where ``directory`` lies."""
    free = _free(directory)
    if free < RESERVE_BYTES:
        raise DiskFull(
            f"{free >> 20} MiB are left on the coordinator's disk ({directory}), and {RESERVE_BYTES >> 20} MiB are kept"
            " for what runs: free some, then submit again"
        )


def sync_directories(*directories: Path) -> None:
    """Put the names in directories on disk: without it a crash may lose a new file however well it was synced."""
    for directory in directories:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
