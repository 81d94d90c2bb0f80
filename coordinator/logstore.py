"""Output of nodes, off the event loop: appended by offset, read, and announced to readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from coordinator.core.ids import AllocationId, JobId
from coordinator.disk import OUTPUT_FLOOR_BYTES
from coordinator.logfiles import DEFAULT_LIMIT, Chunk, LogFiles, Run

log = structlog.get_logger(__name__)
T = TypeVar("T")


class OutputFiles(Protocol):
    """Where output is kept; ``logfiles.LogFiles`` says what each method does. One thread writes, many read."""

    def append(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        """Write chunks by offset; what was returned is durable."""
        ...

    def read(self, allocation_id: AllocationId, offset: int, limit: int) -> Run:
        """Up to ``limit`` bytes, or a gap."""
        ...

    def size(self, allocation_id: AllocationId) -> int:
        """Where the output ends; returns at once."""
        ...

    def tail(self, allocation_id: AllocationId, lines: int) -> int:
        """Where the last lines begin."""
        ...

    def dropped(self, job_id: JobId) -> dict[AllocationId, int]:
        """Dropped bytes of each attempt that has gaps."""
        ...

    def delete(self, job_id: JobId) -> None:
        """Remove all output of a job."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class LogStore:
    """All methods belong to one event loop. Writing takes place in one thread, reading in others."""

    def __init__(self, place: Path | OutputFiles, limit: int = DEFAULT_LIMIT, floor: int = OUTPUT_FLOOR_BYTES) -> None:
        """``place``: a directory, made if it is missing, or where else output is kept. Raises OSError.

        In a directory ``limit`` bytes are kept of each log, and nothing is appended while less than ``floor`` are free.
        """
        self._files: OutputFiles = LogFiles(place, limit, floor) if isinstance(place, Path) else place
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs")
        self._versions: dict[JobId, int] = {}
        self._changed: dict[JobId, asyncio.Event] = {}
        self._removals: set[asyncio.Task[None]] = set()

    async def append_batch(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        """Append chunks in order; for each allocation the next offset wanted, all below it on disk.

        Repeats and overlaps are harmless. A chunk beyond the end is taken only if what lies between was dropped, as it
        says: that is a gap then. Raises Invalid for an id or offset that can't be, DiskFull when the disk is full; what
        was taken till then is still there.
        """
        if not chunks:
            return {}
        jobs = {_job_of(chunk.allocation_id) for chunk in chunks}
        return await self._write(lambda: self._files.append(chunks), jobs)

    async def read(self, allocation_id: AllocationId, offset: int, limit: int) -> Run:
        """Up to ``limit`` bytes from ``offset``, or the gap there; neither at the end, or without a log.

        Raises Invalid for a bad id.
        """
        return await asyncio.to_thread(self._files.read, allocation_id, offset, limit)

    async def tail(self, allocation_id: AllocationId, lines: int) -> int:
        """Where the last ``lines`` lines begin. Raises Invalid for a bad id."""
        return await asyncio.to_thread(self._files.tail, allocation_id, lines)

    def size(self, allocation_id: AllocationId) -> int:
        """Where an allocation's output ends: bytes stored and dropped. Raises Invalid for a bad id."""
        return self._files.size(allocation_id)

    async def dropped(self, job_id: JobId) -> dict[AllocationId, int]:
        """Dropped bytes of those of a job's attempts that have gaps."""
        return await asyncio.to_thread(self._files.dropped, job_id)

    def version(self, job_id: JobId) -> int:
        """A number that is another one after any of the job's output has changed."""
        return self._versions.get(job_id, 0)

    async def changed(self, job_id: JobId, seen: int) -> int:
        """Wait until the job's output changes, unless it has since version ``seen``; the version now."""
        if self.version(job_id) == seen:
            await self._changed.setdefault(job_id, asyncio.Event()).wait()
        return self.version(job_id)

    def forget(self, job_id: JobId) -> None:
        """Remove a job's output, soon; what can't be removed is logged and left."""
        removal = asyncio.create_task(self._forget(job_id))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """Finish what was begun, and let go of files and thread."""
        await asyncio.gather(*self._removals)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._files.close)
        self._writer.shutdown()

    async def _write(self, work: Callable[[], T], jobs: set[JobId]) -> T:
        writing = asyncio.get_running_loop().run_in_executor(self._writer, work)
        # Announced by the work's own end: a caller who went away, or a disk that filled up, leaves bytes for readers.
        writing.add_done_callback(lambda _: self._announce(jobs))
        return await asyncio.shield(writing)

    def _announce(self, jobs: set[JobId]) -> None:
        for job_id in jobs:
            self._versions[job_id] = self.version(job_id) + 1
            event = self._changed.pop(job_id, None)
            if event is not None:
                event.set()

    async def _forget(self, job_id: JobId) -> None:
        try:
            await self._write(lambda: self._files.delete(job_id), {job_id})
        except OSError as error:
            log.warning("logs.not_removed", job=job_id, error=str(error))
        self._versions.pop(job_id, None)


def _job_of(allocation_id: AllocationId) -> JobId:
    return JobId(allocation_id.partition(".")[0])
