"""A job's files: fetched once by hash, checked, and unpacked where they can do no harm."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

KEPT_ARCHIVES = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArchiveError(Exception):
    """A job's files are not to be had or not fit to unpack: the message is the reason, for the user."""


class ArchiveCache:
    """Archives in ``directory``, the newest few kept; ``fetch(sha256)`` gives one's bytes from the coordinator."""

    def __init__(self, directory: Path, fetch: Callable[[str], AsyncIterator[bytes]]) -> None:
        self._dir = directory
        self._fetch = fetch
        self._locks: dict[str, asyncio.Lock] = {}

    async def unpack(self, sha256: str, target: str) -> None:
        """Unpack the archive ``sha256`` into ``target``.

        Raises:
            ArchiveError: it can't be fetched, is not what its hash says, or holds what may not be unpacked.
        """
        if not _SHA256.fullmatch(sha256):
            raise ArchiveError(f"files {sha256[:70]!r}: not a SHA-256")
        async with self._locks.setdefault(sha256, asyncio.Lock()):
            path = await self._cached(sha256)
        await asyncio.to_thread(_unpack, path, target)

    async def _cached(self, sha256: str) -> Path:
        path = self._dir / f"{sha256}.tar"
        if path.exists():
            os.utime(path)
            return path
        part = path.with_suffix(".part")
        digest = hashlib.sha256()
        try:
            with open(part, "wb") as file:  # noqa: ASYNC230 - a local file, written in small pieces
                async for data in self._fetch(sha256):
                    digest.update(data)
                    file.write(data)
        except OSError as error:
            raise ArchiveError(f"files {sha256[:12]}: {error.strerror or error}") from None
        if digest.hexdigest() != sha256:
            part.unlink()
            raise ArchiveError(f"files {sha256[:12]}: what the coordinator sent has another hash; submit the job again")
        part.rename(path)
        self._prune()
        return path

    def _prune(self) -> None:
        kept = sorted(self._dir.glob("*.tar"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-KEPT_ARCHIVES]:
            path.unlink(missing_ok=True)


def _unpack(path: Path, target: str) -> None:
    try:
        with tarfile.open(path) as archive:
            # Refuses absolute paths, '..', links that lead outside, and devices; drops set-uid bits.
            archive.extractall(target, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(f"files {path.stem[:12]} could not be unpacked: {error}") from None
