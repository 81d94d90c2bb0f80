"""Files of jobs as archives, kept by the SHA-256 of their bytes: the same files are stored once.

They are kept within a bound: those of jobs that have ended go, the one that was used longest ago first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rallypoint.failpoints import reach

from coordinator.core.errors import Invalid, NotFound
from coordinator.disk import room_for, sync_directories

MAX_BYTES = 1 << 30
KEEP_BYTES = 16 << 30
# Between its upload and its job's submission an archive is nobody's yet.
_YOUNG_SECONDS = 3600.0
_PIECE = 256 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")


class ArchiveStore:
    """Archives under ``directory``; what was received is on disk. Disk work runs in threads."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES, keep_bytes: int = KEEP_BYTES) -> None:
        """Makes ``directory``, for its owner only, and clears what a crash left half received. Raises OSError.

        One archive may take ``max_bytes``; ``keep_bytes`` is what all together take as far as jobs let them.
        """
        self._directory = directory
        self._keep_bytes = keep_bytes
        self._incoming = directory / "incoming"
        self._max_bytes = max_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    async def receive(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store an archive; its SHA-256 in hex and its size in bytes.

        Raises Invalid when it is larger than allowed, DiskFull when the disk is; both leave nothing.
        """
        with room_for("a job's files", self._directory):
            handle, temporary = tempfile.mkstemp(dir=self._incoming)
            try:
                with os.fdopen(handle, "wb") as file:
                    digest, size = await self._write(file, chunks)
                    await asyncio.to_thread(_sync, file)
                reach("coordinator.before-archive-store")
                await asyncio.to_thread(self._keep, Path(temporary), digest)
                reach("coordinator.after-archive-store")
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            return digest, size

    def has(self, sha256: str) -> bool:
        """Whether an archive with this hash is stored; False for text that is no hash."""
        return _HASH.fullmatch(sha256) is not None and self._path(sha256).exists()

    def use(self, sha256: str) -> bool:
        """Like ``has``; one that is there is not pruned for a while."""
        if not self.has(sha256):
            return False
        try:
            os.utime(self._path(sha256))
        except FileNotFoundError:
            return False
        return True

    async def prune(self, needed: Collection[str]) -> None:
        """Remove what was used longest ago, down to the bound; never one of ``needed``, nor one used a moment ago."""
        await asyncio.to_thread(self._prune, frozenset(needed), time.time() - _YOUNG_SECONDS)

    def _prune(self, needed: frozenset[str], before: float) -> None:
        found = [(path, path.stat()) for path in self._directory.glob("[0-9a-f][0-9a-f]/*")]
        excess = sum(info.st_size for _, info in found) - self._keep_bytes
        for path, info in sorted(found, key=lambda each: each[1].st_mtime_ns):
            if excess > 0 and path.name not in needed and info.st_mtime < before:
                path.unlink(missing_ok=True)
                excess -= info.st_size

    async def open(self, sha256: str) -> AsyncIterator[bytes]:
        """The archive's bytes in pieces. Raises NotFound, also for text that is no hash."""
        if not self.has(sha256):
            raise NotFound(f"there is no archive {sha256[:64]!r}; submit the job again, with its files")
        with self._path(sha256).open("rb", buffering=0) as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    async def _write(self, file: BinaryIO, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self._max_bytes:
                raise Invalid(f"the files take more than {self._max_bytes >> 20} MiB packed; submit fewer of them")
            await asyncio.to_thread(_take, file, digest, chunk)
        return digest.hexdigest(), size

    def _keep(self, temporary: Path, digest: str) -> None:
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary.replace(path)
        sync_directories(path.parent, self._directory)

    def _path(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256


def _take(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
