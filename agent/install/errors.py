"""How an installation fails."""

from __future__ import annotations


class CannotInstall(Exception):
    """The installer can't go on; the one-line message says what, why, and the way out."""


def because(error: OSError) -> str:
    """The reason of a failed call, and what usually mends it."""
    import errno

    reason = (error.strerror or str(error)).lower()
    ways = {
        errno.ENOSPC: "make room on that disk",
        errno.EROFS: "mount it for writing, or give another place with --prefix and --state-dir",
        errno.EACCES: "run the line as root, or as a user who may write there",
        errno.EPERM: "run the line as root, or as a user who may write there",
    }
    way = ways.get(error.errno or 0, "")
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{reason}{f'; {way}' if way else ''}"
