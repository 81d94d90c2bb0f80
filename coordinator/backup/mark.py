"""The marks in a data directory that a restore leaves: one while it is under way, one until the coordinator is at peace
with what hosts may know."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rallypoint.files import write_private

from coordinator.backup.errors import BackupError

STAGING = "restore.partial"
_RESTORED = "restored.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """The data directory is that of a backup taken at ``created_at`` (Unix seconds)."""

    created_at: float

    def write(self, directory: Path) -> None:
        """Leave the mark. Raises OSError."""
        write_private(directory / _RESTORED, json.dumps({"created_at": self.created_at}).encode())

    @staticmethod
    def find(directory: Path) -> Mark | None:
        """The mark of a directory that was restored. Raises BackupError when a restore is not done in it."""
        if (directory / STAGING).exists():
            raise BackupError(
                f"a restore into {directory} is under way, or was cut off: wait for it, or repeat it with --force"
            )
        try:
            return Mark(float(json.loads((directory / _RESTORED).read_bytes())["created_at"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            # Restored all the same: as old as can be.
            return Mark(0.0)

    @staticmethod
    def clear(directory: Path) -> None:
        """Take the mark away."""
        with suppress(FileNotFoundError):
            (directory / _RESTORED).unlink()
