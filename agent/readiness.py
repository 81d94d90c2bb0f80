"""Nodes that announce that they are ready: each makes a file that it was told; until then the agent looks for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.model import AllocationId

# Others of the group wait for the announcement; a look costs a few microseconds.
LOOK_SECONDS = 0.05


class Readiness:
    """Files that are looked for. ``announced`` is called once for each that is there."""

    def __init__(self, announced: Callable[[AllocationId], None]) -> None:
        self._announced = announced
        self._files: dict[AllocationId, str] = {}
        self._task: asyncio.Task[None] | None = None

    def look_for(self, key: AllocationId, file: str) -> None:
        """Look for the node's file from now on; harmless when it is looked for already."""
        self._files[key] = file
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())

    def drop(self, key: AllocationId) -> None:
        """The node is over."""
        self._files.pop(key, None)

    async def _look(self) -> None:
        while self._files:
            self._look_once()
            await asyncio.sleep(LOOK_SECONDS)

    def _look_once(self) -> None:
        for key, file in list(self._files.items()):
            # A link counts as it is: where it leads is not looked at, with rights that the node may not have.
            if os.path.lexists(file):
                self.drop(key)
                self._announced(key)

    async def close(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
