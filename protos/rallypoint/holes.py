"""Give blocks of a file back to its disk while others read and write it: every offset stays what it was (Linux)."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

BLOCK = 4096
"""Whole blocks of this size are freed; what lies in a part of one stays."""

_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)


def free_blocks(file: int, start: int, end: int) -> bool:
    """Free the blocks of an open file that lie between two offsets; they read as zeros from then on.

    Returns whether the file system can do so. Raises OSError when it can, and fails.
    """
    first, last = -(-start // BLOCK) * BLOCK, end // BLOCK * BLOCK
    return last <= first or _fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, first, last - first)


def reserve_blocks(file: int, start: int, length: int) -> bool:
    """Reserve room for bytes to come after a file's end, so that a full disk still takes them; its size stays.

    Returns whether the file system can do so. Raises OSError, also when there is no such room.
    """
    return _fallocate(file, _KEEP_SIZE, start, length)


def can_free(directory: Path) -> bool:
    """Whether files in ``directory`` can give blocks back. Raises OSError when none can be made there."""
    import tempfile  # Slow to load, and the spawner needs no part of it.

    with tempfile.TemporaryFile(dir=directory) as file:
        return _fallocate(file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, 0, BLOCK)


def _fallocate(file: int, mode: int, start: int, length: int) -> bool:
    call = _system_call()
    if call is None:
        return False
    while call(file, mode, start, length) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


@cache
def _system_call() -> Any:
    """The C library's ``fallocate``, of which Python has only the form that changes a file's size; None elsewhere."""
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError, TypeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    return call
