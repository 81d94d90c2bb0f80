"""One coordinator a data directory: an advisory lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from coordinator.store.api import StoreBusy, StoreError

_FILE = "coordinator.lock"


class DirectoryLock:
    """Held from construction until ``release``."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreBusy when it is held already, StoreError when the directory can't be written to."""
        try:
            self._fd = os.open(directory / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = error.strerror
            raise StoreError(f"data directory {directory} can't be used: {why}; choose another --data-dir") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(self._fd, 32, 0).strip()
            self.release()
            raise StoreBusy(str(directory), int(written) if written.isdigit() else None) from None
        self._sign()

    def _sign(self) -> None:
        # The pid only makes the refusal of others more helpful: a full disk must not keep a coordinator from starting.
        with suppress(OSError):
            os.ftruncate(self._fd, os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0))

    def release(self) -> None:
        """Let others in. The file stays: removing it would let two holders in, each with its own file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
