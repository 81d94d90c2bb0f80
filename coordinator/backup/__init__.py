"""Backup and restore of a data directory.

A *backup* is one tar file of everything that a coordinator needs to come back under the same identity; its last member
is the *manifest*, which names every other with its SHA-256. What was restored carries a *mark* until the coordinator
has made it safe to go on from (``core.restored``).
"""

from coordinator.backup.errors import BackupError
from coordinator.backup.mark import Mark

__all__ = ["BackupError", "Mark"]
