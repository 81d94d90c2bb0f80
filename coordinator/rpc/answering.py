"""The two places around an answer at which a test may have the coordinator die."""

from __future__ import annotations

from typing import Any

from rallypoint.failpoints import armed, reach


def answering(context: Any, before: str, after: str) -> None:
    """A method is about to return its answer. ``before`` and ``after`` are names of failpoints."""
    reach(before)
    if armed(after):
        # Called once the answer and its status have left.
        context.add_done_callback(lambda _: reach(after))
