"""The coordinator's own wheel, as what hosts are upgraded to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from coordinator.core.rollout import Release

_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class OwnWheel:
    """A wheel on disk, and what it is."""

    path: Path
    release: Release

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes. Raises OSError."""
        with self.path.open("rb", buffering=0) as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece
