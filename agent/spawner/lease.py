"""The lease on disk, for the next spawner, should this one and the daemon both be gone: work must not outlive it."""

import os

from agent.closed import for_owner

# It is prolonged many times a minute; the file follows in steps of so many seconds.
SAVE_STEP = 1.0


class LeaseFile:
    """``until`` (nothing: none known) and the last contact ``since``, on the clock of ``wire.now``, and ``grace``.

    Of this ``boot`` alone.
    """

    __slots__ = ("_boot", "_path", "_saved", "grace", "since", "until")

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self.until: float | None = None
        self.since = 0.0
        self.grace = 0.0
        self._read()
        self._saved = self.until or 0.0

    def prolong(self, until: float, grace: float, since: float) -> None:
        """Take in a new lease."""
        self.until, self.grace, self.since = until, grace, since
        if until - self._saved >= SAVE_STEP:
            self._saved = until
            self._write()

    def end_for(self, after: float | None) -> float | None:
        """When a task that may outlast ``after`` seconds out of contact (nothing: any time) must be stopped.

        Nothing: never, or no lease is known.
        """
        return None if after is None or self.until is None else max(self.until, self.since + after)

    def _write(self) -> None:
        try:
            with open(self._path + ".new", "w", opener=for_owner) as file:
                file.write(f"{self._boot} {self.until} {self.grace} {self.since}")
            os.rename(self._path + ".new", self._path)
        except OSError:
            # A full disk: an older lease is left, which ends earlier and is the safe one.
            return

    def _read(self) -> None:
        try:
            with open(self._path) as file:
                boot, until, grace, *since = file.read().split()
        except (OSError, ValueError):
            return
        if boot == self._boot:
            self.until, self.grace = float(until), float(grace)
            # An earlier release wrote none, and had no task that outlasts its lease.
            self.since = float(since[0]) if since else 0.0
