"""A log that can't outgrow its bound, though the process that writes it is never told.

The agent writes to the file itself, not through a pipe: it must go on when its supervisor is killed. So the file is
copied and emptied (it is open for appending); a line written between the two is lost, no more.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 1 << 20


def open_log(path: Path) -> int:
    """A descriptor to append to ``path``, for its owner only. Raises OSError; a symbolic link is none to follow."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def bound_log(path: Path, limit: int) -> None:
    """Once ``path`` has ``limit`` bytes: it becomes ``PATH.1``, in place of the one before, and begins anew.

    On a full disk what it held is lost instead: a log must not be what keeps a disk full.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size < limit:
            return
        with contextlib.suppress(OSError):
            _keep(path)
        os.truncate(path, 0)


def _keep(path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as kept, path.open("rb") as log:
            while piece := log.read(_PIECE):
                kept.write(piece)
        os.replace(temporary, f"{path}.1")
    except BaseException:
        os.unlink(temporary)
        raise
