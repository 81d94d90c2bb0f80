"""The lease on disk, for the next spawner, should this one and the daemon both be gone: work must not outlive it."""

import os

# It is prolonged many times a minute; the file follows in steps of so many seconds.
SAVE_STEP = 1.0


class LeaseFile:
    """``until`` (on the clock of ``wire.now``; nothing: none known) and ``grace``, of this ``boot`` alone."""

    __slots__ = ("_boot", "_path", "_saved", "grace", "until")

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self.until: float | None = None
        self.grace = 0.0
        self._read()
        self._saved = self.until or 0.0

    def prolong(self, until: float, grace: float) -> None:
        """Take in a new lease."""
        self.until, self.grace = until, grace
        if until - self._saved >= SAVE_STEP:
            self._saved = until
            self._write()

    def _write(self) -> None:
        try:
            with open(self._path + ".new", "w") as file:
                file.write(f"{self._boot} {self.until} {self.grace}")
            os.rename(self._path + ".new", self._path)
        except OSError:
            # A full disk: an older lease is left, which ends earlier and is the safe one.
            return

    def _read(self) -> None:
        try:
            with open(self._path) as file:
                boot, until, grace = file.read().split()
        except (OSError, ValueError):
            return
        if boot == self._boot:
            self.until, self.grace = float(until), float(grace)
