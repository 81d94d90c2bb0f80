"""Files that hold secrets: written whole or not at all, and for their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_private_dir(path: Path) -> None:
    """Create the directory for its owner only. An existing one is closed to others too."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; never readable by others, not even for a moment."""
    import tempfile  # Slow to load, and commands that only read need no part of it.

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # Windows has no handles of directories to flush.
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def readable_by_others(path: Path) -> bool:
    """Whether group or others may read this regular file. Raises ``OSError``. Always false on Windows (no modes)."""
    mode = path.stat().st_mode
    return os.name != "nt" and stat.S_ISREG(mode) and bool(mode & 0o077)
