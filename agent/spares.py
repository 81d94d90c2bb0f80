"""Empty directories and files that are used again.

To make and to remove one costs a file system more than starting and ending a short process costs the kernel; to rename
one costs next to nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PREFIX = ".spare-"
# So many of each are kept.
MOST = 64


class Spares:
    """Those in ``folder``, all of the user ``owner``; what an earlier life of the agent left there is removed."""

    def __init__(self, folder: Path, owner: int) -> None:
        self._folder = folder
        self._owner = owner
        self._kept: list[str] = []
        self._number = 0

    def open(self) -> None:
        """Remove what is left of an earlier life."""
        with os.scandir(self._folder) as entries:
            left = [entry for entry in entries if entry.name.startswith(PREFIX)]
        for entry in left:
            with contextlib.suppress(OSError):
                (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)

    def keep_directory(self, path: str) -> bool:
        """Keep a directory for later if it is empty and as it was made; false: it stays where it is."""
        try:
            made = os.lstat(path)
            fresh = stat.S_IMODE(made.st_mode) == 0o700 and made.st_uid == self._owner and not os.listdir(path)
        except OSError:
            return False
        return fresh and self._keep(path)

    def keep_file(self, path: str) -> bool:
        """Keep a file for later if it is empty, and nobody has it open; false: it stays where it is."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            made = os.fstat(fd)
            if made.st_size or made.st_blocks or made.st_nlink != 1 or stat.S_IMODE(made.st_mode) != 0o600:
                return False
            if made.st_uid != self._owner:
                return False
            # Granted only while no one else has it open: else what is written there would be another node's.
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
        finally:
            os.close(fd)
        return self._keep(path)

    def use_directory(self, path: str) -> bool:
        """Put an empty directory at ``path``, in place of an empty one if need be; false: there is none."""
        return self._use(path, os.rename)

    def use_file(self, path: str) -> bool:
        """Put an empty file at ``path``, where none is; false: there is one, or none is left."""
        return self._use(path, _move)

    def _keep(self, path: str) -> bool:
        if len(self._kept) >= MOST:
            return False
        self._number += 1
        spare = f"{self._folder}/{PREFIX}{self._number}"
        try:
            os.rename(path, spare)
        except OSError:
            return False
        self._kept.append(spare)
        return True

    def _use(self, path: str, move: Callable[[str, str], None]) -> bool:
        if not self._kept:
            return False
        try:
            move(self._kept.pop(), path)
        except OSError:
            return False
        return True


def _move(spare: str, path: str) -> None:
    # Not by renaming, which would take the place of a file that is there.
    try:
        os.link(spare, path)
    finally:
        os.unlink(spare)
