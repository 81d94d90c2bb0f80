"""One agent a state directory, and one supervisor."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

AGENT_LOCK = "agent.lock"
# Who only looks whether somebody holds a lock holds it for a moment: that is no second agent.
_LOOK_SECONDS = 0.3


class AlreadyRunning(Exception):
    """Another process holds the lock: the message gives its pid."""


class PidLock:
    """Holds the file ``path``, with this process's pid in it, for as long as the context lasts.

    Raises:
        AlreadyRunning: on entering, if another process holds it; ``taken`` and its pid are the message.
        OSError: on entering, if the file can't be opened, or is a symbolic link.
    """

    def __init__(self, path: Path, taken: str) -> None:
        self._path = path
        self._taken = taken
        self._fd = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        if not _locked_soon(self._fd):
            pid = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(self._taken.format(pid=pid))
        # Of one length, in place: a disk that is full by now takes it, too.
        os.pwrite(self._fd, f"{os.getpid():<20}\n".encode(), 0)
        os.ftruncate(self._fd, 21)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


class StateLock(PidLock):
    """The agent's own lock on its state directory."""

    def __init__(self, state_dir: Path) -> None:
        taken = f"an agent (pid {{pid}}) already uses {state_dir}; stop it, or give another --state-dir"
        super().__init__(state_dir / AGENT_LOCK, taken)


def holder(path: Path) -> int | None:
    """The pid of who holds the lock ``path``; None: nobody does, or nobody has said so yet."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(lock, 32).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else None
    finally:
        os.close(lock)
    return None


def _locked_soon(fd: int) -> bool:
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
