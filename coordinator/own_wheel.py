"""The coordinator's own wheel: what hosts are upgraded to."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rallypoint.version import __version__, build_name

from coordinator.core.rollout import Release

FOLDER = "wheels"
"""In the data directory."""

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


def find_wheel(data_dir: Path) -> OwnWheel | None:
    """The wheel of this very release that is kept in ``data_dir``, the newest if there are several; None: there is
    none."""
    found = sorted((data_dir / FOLDER).rglob(f"rallypoint-{__version__}-*.whl"), key=lambda path: path.stat().st_mtime)
    if not found:
        return None
    info = found[-1].stat()
    return _read(found[-1], info.st_mtime_ns, info.st_size)


@functools.lru_cache(4)
def _read(path: Path, _changed: int, size: int) -> OwnWheel:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return OwnWheel(path, Release(__version__, build_name(__version__, sha256), sha256, size))
