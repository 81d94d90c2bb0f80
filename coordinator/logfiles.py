"""Files of output under one directory: ``JOB/RANK-IN-THOUSANDS/RANK.ATTEMPT.log``, appended to by offset.

Blocking, and for one thread at a time; ``logstore`` is the asynchronous face. What a batch wrote is on disk when it
returns.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.core.errors import Invalid
from coordinator.core.ids import AllocationId, JobId
from coordinator.disk import OUTPUT_FLOOR_BYTES, require_room_for_output, room_for, sync_directories

# Writing to a file again soon is the rule; opening it each time costs more than the write.
_OPEN_FILES = 128
# A directory of a million files is slow to list and to remove.
_FAN_OUT = 1000

# Strict, because ids come from hosts and become paths: one spelling of each number, no more digits than ids can have.
_NUMBER = r"0|[1-9][0-9]{0,17}"
_ID = re.compile(rf"(?P<job>j-(?:{_NUMBER}))\.(?P<rank>{_NUMBER})\.(?P<attempt>{_NUMBER})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of bytes of one allocation's output, beginning at ``offset``."""

    allocation_id: AllocationId
    offset: int
    data: bytes


class LogFiles:
    """The files, and the few of them that are open for writing."""

    def __init__(self, directory: Path, floor: int = OUTPUT_FLOOR_BYTES) -> None:
        """Makes ``directory``, for its owner only, if it is missing. Raises OSError.

        With less than ``floor`` bytes free nothing is appended.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._floor = floor
        self._open: OrderedDict[Path, int] = OrderedDict()

    def append(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        """Write chunks in their order; for each allocation the number of bytes now on disk, the next offset wanted.

        Bytes that are there already are written again, which changes nothing; a chunk beyond the end is not taken.
        Raises Invalid for an id or offset that can't be, DiskFull when the disk is.
        """
        if any(chunk.data for chunk in chunks):
            require_room_for_output(self._directory, self._floor)
        wanted: dict[AllocationId, int] = {}
        for start in range(0, len(chunks), _OPEN_FILES):
            wanted |= self._append_some(chunks[start : start + _OPEN_FILES])
        return wanted

    def read(self, allocation_id: AllocationId, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes from ``offset``; empty at the end, or without a log. Safe from any thread."""
        try:
            file = os.open(self.path(allocation_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(file, limit, offset)
        finally:
            os.close(file)

    def size(self, allocation_id: AllocationId) -> int:
        """Bytes stored, 0 without a log. Safe from any thread."""
        try:
            return self.path(allocation_id).stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self, job_id: JobId) -> None:
        """Remove all output of a job; harmless when there is none. Raises OSError."""
        directory = self.path(AllocationId(f"{job_id}.0.0")).parent.parent
        for path in [path for path in self._open if path.is_relative_to(directory)]:
            os.close(self._open.pop(path))
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Close what is open; files open again when written to."""
        self._close_all_but(0)

    def path(self, allocation_id: AllocationId) -> Path:
        """Where an allocation's output is. Raises Invalid."""
        parts = _ID.fullmatch(allocation_id)
        if parts is None:
            raise Invalid(f"{allocation_id[:80]!r} is no allocation's id; one is written JOB.RANK.ATTEMPT")
        thousands = int(parts["rank"]) // _FAN_OUT
        return self._directory / parts["job"] / str(thousands) / f"{parts['rank']}.{parts['attempt']}.log"

    def _append_some(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        wanted: dict[AllocationId, int] = {}
        touched: set[int] = set()
        opened: set[Path] = set()
        try:
            with room_for("output", self._directory):
                for chunk in chunks:
                    wanted[chunk.allocation_id] = self._write(chunk, touched, opened)
                for file in touched:
                    os.fdatasync(file)
                for directory in opened:
                    sync_directories(directory, directory.parent, self._directory)
        except BaseException:
            # Opened again, their names are synced again: this time that may not have come to pass.
            self.close()
            raise
        self._close_all_but(_OPEN_FILES)
        return wanted

    def _write(self, chunk: Chunk, touched: set[int], opened: set[Path]) -> int:
        path, size = self.path(chunk.allocation_id), self.size(chunk.allocation_id)
        if chunk.offset < 0:
            raise Invalid(f"output of {chunk.allocation_id} can't begin at {chunk.offset}")
        if not chunk.data or chunk.offset > size:
            return size
        if path not in self._open:
            opened.add(path.parent)
        file = self._file(path)
        touched.add(file)
        rest, offset = memoryview(chunk.data), chunk.offset
        while rest:
            written = os.pwrite(file, rest, offset)
            rest, offset = rest[written:], offset + written
        return max(size, offset)

    def _file(self, path: Path) -> int:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        for level in (path.parent.parent, path.parent):
            level.mkdir(mode=0o700, exist_ok=True)
        file = self._open[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return file

    def _close_all_but(self, kept: int) -> None:
        while len(self._open) > kept:
            os.close(self._open.popitem(last=False)[1])
