"""How taking a backup, or putting one back, fails."""

from __future__ import annotations


class BackupError(Exception):
    """A backup can't be taken or put back; nothing was changed. The message says why and what to do."""
