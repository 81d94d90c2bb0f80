"""Which text and which exit code each kind of failure gets."""

from __future__ import annotations

from coordinator.cli import exits

# By name: the modules that define these errors are slow to load, and were loaded already if there is such an error.
_CODES = {
    "SpecError": exits.TASK_WRONG,
    "ArchiveError": exits.TASK_WRONG,
    "ContextError": exits.NOT_CONFIGURED,
    "SettingsError": exits.NOT_CONFIGURED,
    "AuthorityDamaged": exits.NOT_CONFIGURED,
    "CannotServe": exits.REFUSED,
    "BackupError": exits.REFUSED,
    "StoreError": exits.REFUSED,
    "Unreachable": exits.UNREACHABLE,
    "NotAuthorised": exits.NOT_AUTHORISED,
    "NotFound": exits.NOT_FOUND,
    "Refused": exits.REFUSED,
    "Internal": exits.INTERNAL,
}


class CommandFailed(Exception):
    """A command can't go on; carries its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def describe(error: Exception) -> tuple[str, int]:
    """Lines for people, and the exit code."""
    if isinstance(error, CommandFailed):
        return str(error), error.code
    for kind in type(error).__mro__:
        if kind.__module__.startswith("coordinator.") and kind.__name__ in _CODES:
            return str(error), _CODES[kind.__name__]
    if isinstance(error, OSError):
        where = f" {error.filename!r}" if error.filename else ""
        return (
            f"{error.strerror or error}{where}; check the path and its permissions",
            exits.INTERNAL,
        )
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in the command ({what}); set RALLYPOINT_DEBUG=1 for details and report it", exits.INTERNAL
