"""Files of output under one directory: ``JOB/RANK-IN-THOUSANDS/RANK.ATTEMPT.log``, appended to by offset.

A log's offsets are those of the file that its process wrote; bytes that were dropped are holes in the file, noted in
``RANK.ATTEMPT.gaps`` (see ``gaps``). Blocking, and for one thread at a time; ``logstore`` is the asynchronous face.
What a batch wrote is on disk when it returns.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rallypoint.holes import can_free, free_blocks

from coordinator.core.errors import Invalid
from coordinator.core.ids import AllocationId, JobId
from coordinator.disk import OUTPUT_FLOOR_BYTES, require_room_for_output, room_for, sync_directories
from coordinator.gaps import (
    Gap,
    Gaps,
    dropped_bytes,
    gaps_path,
    kept_ranges,
    load_gaps,
    save_gaps,
    tame_reason,
    with_gap,
)
from coordinator.lastlines import LastLines

# Writing to a file again soon is the rule; opening it each time costs more than the write.
_OPEN_FILES = 128
# Of a log that is too long the first bytes stay too: they often say what a program was started with.
_HEAD_BYTES = 1024 * 1024
_PIECE = 64 * 1024
# A directory of a million files is slow to list and to remove.
_FAN_OUT = 1000

# Strict, because ids come from hosts and become paths: one spelling of each number, no more digits than ids can have.
_NUMBER = r"0|[1-9][0-9]{0,17}"
_ID = re.compile(rf"(?P<job>j-(?:{_NUMBER}))\.(?P<rank>{_NUMBER})\.(?P<attempt>{_NUMBER})")


DEFAULT_LIMIT = 256 * 1024 * 1024
"""Bytes that are kept of one attempt's output."""


def parts_of(allocation_id: AllocationId) -> re.Match[str]:
    """The ``job``, ``rank`` and ``attempt`` of an id that came from a host. Raises Invalid."""
    parts = _ID.fullmatch(allocation_id)
    if parts is None:
        raise Invalid(f"{allocation_id[:80]!r} is no allocation's id; one is written JOB.RANK.ATTEMPT")
    return parts


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of bytes of one allocation's output, beginning at ``offset``; ``dropped`` bytes before it are no more."""

    allocation_id: AllocationId
    offset: int
    data: bytes
    dropped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What is stored from some place on: bytes from ``offset``, or none and ``dropped`` bytes before ``offset``."""

    offset: int
    data: bytes
    dropped: int = 0
    reason: str = ""

    @property
    def end(self) -> int:
        """Where the next run begins."""
        return self.offset + len(self.data)


@dataclass(slots=True)
class _Log:
    """A log that is open for writing: its file, the bytes written and dropped so far together, its gaps."""

    file: int
    size: int
    gaps: Gaps

    @property
    def kept(self) -> int:
        return self.size - dropped_bytes(self.gaps)


class LogFiles:
    """The files, and the few of them that are open for writing."""

    def __init__(self, directory: Path, limit: int = DEFAULT_LIMIT, floor: int = OUTPUT_FLOOR_BYTES) -> None:
        """Makes ``directory``, for its owner only, if it is missing. Raises OSError.

        Of each log ``limit`` bytes are kept: a little of its beginning and its end. Where the file system can't free
        parts of a file, its beginning alone. With less than ``floor`` bytes free nothing is appended.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._limit = limit
        self._floor = floor
        self._can_free = _can_free(directory)
        self._reason = f"the coordinator's log limit of {limit / (1 << 20):g} MB"
        self._open: OrderedDict[Path, _Log] = OrderedDict()

    def append(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        """Write chunks in their order; for each allocation the offset that is wanted next, all below it on disk.

        What is there already stays as it is. A chunk beyond the end is taken if the bytes in between were dropped,
        which then are a gap, and else is not. Raises Invalid for an id or offset that can't be, DiskFull when the disk
        is.
        """
        if any(chunk.data or chunk.dropped for chunk in chunks):
            require_room_for_output(self._directory, self._floor)
        wanted: dict[AllocationId, int] = {}
        for start in range(0, len(chunks), _OPEN_FILES):
            wanted |= self._append_some(chunks[start : start + _OPEN_FILES])
        return wanted

    def read(self, allocation_id: AllocationId, offset: int, limit: int) -> Run:
        """Up to ``limit`` bytes from ``offset``, or the gap there; neither at the end, or without a log.

        Safe from any thread.
        """
        path = self.path(allocation_id)
        while True:
            size = self.size(allocation_id)
            gaps = load_gaps(gaps_path(path), size)
            run = run_at(size, gaps, offset, limit, lambda at, length: _pread(path, at, length))
            # A gap is noted before its bytes are freed: if none has come, what was read was there.
            if load_gaps(gaps_path(path), size) == gaps:
                return run

    def size(self, allocation_id: AllocationId) -> int:
        """Where the log ends, 0 without one: all bytes that were stored or dropped. Safe from any thread."""
        try:
            return self.path(allocation_id).stat().st_size
        except FileNotFoundError:
            return 0

    def tail(self, allocation_id: AllocationId, lines: int) -> int:
        """Where the last ``lines`` lines begin, as far as they are found near the end. Safe from any thread.

        A gap ends a line; one before the first of the lines belongs to it.
        """
        path, size = self.path(allocation_id), self.size(allocation_id)
        return last_lines(lines, size, load_gaps(gaps_path(path), size), lambda at, length: _pread(path, at, length))

    def dropped(self, job_id: JobId) -> dict[AllocationId, int]:
        """Dropped bytes of each attempt of a job that has gaps. Safe from any thread."""
        found: dict[AllocationId, int] = {}
        for path in self._job_directory(job_id).glob("*/*.gaps"):
            allocation_id = AllocationId(f"{job_id}.{path.stem}")
            found[allocation_id] = dropped_bytes(load_gaps(path, self.size(allocation_id)))
        return found

    def delete(self, job_id: JobId) -> None:
        """Remove all output of a job; harmless when there is none. Raises OSError."""
        directory = self._job_directory(job_id)
        for path in [path for path in self._open if path.is_relative_to(directory)]:
            os.close(self._open.pop(path).file)
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Close what is open; files open again when written to."""
        self._close_all_but(0)

    def path(self, allocation_id: AllocationId) -> Path:
        """Where an allocation's output is. Raises Invalid."""
        parts = parts_of(allocation_id)
        thousands = int(parts["rank"]) // _FAN_OUT
        return self._directory / parts["job"] / str(thousands) / f"{parts['rank']}.{parts['attempt']}.log"

    def _job_directory(self, job_id: JobId) -> Path:
        return self.path(AllocationId(f"{job_id}.0.0")).parent.parent

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
        if chunk.offset < 0 or not 0 <= chunk.dropped <= chunk.offset:
            raise Invalid(f"output of {chunk.allocation_id} can't begin at {chunk.offset - max(0, chunk.dropped)}")
        if chunk.offset + len(chunk.data) <= size or chunk.offset - chunk.dropped > size:
            return size
        if path not in self._open:
            opened.add(path.parent)
        log = self._log(path)
        touched.add(log.file)
        if chunk.offset > log.size:
            self._skip(path, log, chunk.offset, tame_reason(chunk.reason))
        data = memoryview(chunk.data)[log.size - chunk.offset :]
        if self._can_free:
            _put(log, data)
            self._trim(path, log)
        else:
            room = max(0, self._limit - log.kept)
            _put(log, data[:room])
            if data[room:]:
                self._skip(path, log, log.size + len(data[room:]), self._reason)
        return log.size

    def _skip(self, path: Path, log: _Log, end: int, reason: str) -> None:
        """Go on behind a gap."""
        gaps = with_gap(log.gaps, Gap(log.size, end, reason))
        save_gaps(gaps_path(path), gaps)
        os.ftruncate(log.file, end)
        log.gaps, log.size = gaps, end

    def _trim(self, path: Path, log: _Log) -> None:
        """Drop what is too much from the middle of a log, and some more: it is too costly to do for every chunk."""
        excess = too_much(log.size, log.gaps, self._limit)
        if excess is None:
            return
        head, end = excess
        gaps = with_gap(log.gaps, Gap(head, end, self._reason))
        save_gaps(gaps_path(path), gaps)
        log.gaps = gaps
        free_blocks(log.file, head, end)

    def _log(self, path: Path) -> _Log:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        for level in (path.parent.parent, path.parent):
            level.mkdir(mode=0o700, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(file).st_size
        log = self._open[path] = _Log(file, size, load_gaps(gaps_path(path), size))
        return log

    def _close_all_but(self, kept: int) -> None:
        while len(self._open) > kept:
            os.close(self._open.popitem(last=False)[1].file)


def _can_free(directory: Path) -> bool:
    try:
        return can_free(directory)
    except OSError:
        # A full disk takes no file to try with, and must not keep a coordinator from its start: nearly all can.
        return True


def _put(log: _Log, data: memoryview) -> None:
    while data:
        written = os.pwrite(log.file, data, log.size)
        data, log.size = data[written:], log.size + written


def run_at(size: int, gaps: Gaps, offset: int, limit: int, read: Callable[[int, int], bytes]) -> Run:
    """What a log holds from ``offset``; ``read`` gives bytes by place and length."""
    here = next((gap for gap in gaps if gap.end > offset), None)
    if here is not None and here.start <= offset:
        return Run(here.end, b"", here.end - offset, here.reason)
    end = min(size, offset + limit, here.start if here is not None else size)
    return Run(offset, read(offset, end - offset) if end > offset else b"")


def last_lines(lines: int, size: int, gaps: Gaps, read: Callable[[int, int], bytes]) -> int:
    """Where a log's last lines begin; ``read`` gives bytes by place and length."""
    found = LastLines(lines)
    for start, end in reversed(list(kept_ranges(gaps, size))):
        for at in range(end, start, -_PIECE):
            begin = max(start, at - _PIECE)
            place = found.look(read(begin, at - begin), begin)
            if place is not None:
                return place
        before = next((gap.start for gap in reversed(gaps) if gap.end == start), 0)
        if found.ends_at(start):
            return before
    return 0


def too_much(size: int, gaps: Gaps, limit: int) -> tuple[int, int] | None:
    """What to drop from the middle of a log that keeps more than ``limit`` bytes: from where to where."""
    excess = size - dropped_bytes(gaps) - limit
    if excess <= 0:
        return None
    excess += limit // 8
    head = min(_HEAD_BYTES, limit // 8)
    end = head
    for start, stop in kept_ranges(gaps, size):
        length = min(excess, stop - max(start, head))
        if length > 0:
            end = max(start, head) + length
            excess -= length
    return head, end


def _pread(path: Path, offset: int, length: int) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(file, length, offset)
    finally:
        os.close(file)
