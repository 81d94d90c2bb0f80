"""What the coordinator's files have in common: names that last, and a full disk told as one."""

from __future__ import annotations

import errno
import os
import shutil
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


def require_reserve(directory: Path) -> None:
    """Raise DiskFull when less than ``RESERVE_BYTES`` is free where ``directory`` lies."""
    free = shutil.disk_usage(directory).free
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
