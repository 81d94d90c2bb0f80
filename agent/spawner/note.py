"""What a program of the agent's own, which runs a task for us, notes of its end: more than an exit code can say."""

import json

# What may be said so: anything else is the spawner's to judge.
_CAUSES = ("out_of_memory", "start_failed", "host")


def noted(path: str) -> tuple[str, str] | None:
    """Cause and reason; nothing: it noted none."""
    try:
        with open(path) as file:
            note = json.load(file)
        cause, reason = str(note["cause"]), str(note["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (cause, reason) if cause in _CAUSES else None
