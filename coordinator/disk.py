"""What the coordinator's files have in common: names that last, and a full disk told as one."""

from __future__ import annotations

import errno
import os
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


def sync_directories(*directories: Path) -> None:
    """Put the names in directories on disk: without it a crash may lose a new file however well it was synced."""
    for directory in directories:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
