"""One agent a state directory."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class AlreadyRunning(Exception):
    """Another agent uses the state directory: the message gives its pid."""


class StateLock:
    """Holds ``agent.lock``, with this process's pid in it, for as long as the context lasts.

    Raises:
        AlreadyRunning: on entering, if another process holds it.
    """

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(
                f"an agent (pid {pid}) already uses {self._dir}; stop it, or give another --state-dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
