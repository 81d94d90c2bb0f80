"""Output and files of jobs in PostgreSQL, where the next leader finds them: every byte that was acknowledged.

Each transaction checks the term, as the engine's do. Sizes and hashes are kept in memory too, read when the term
began: the leader is the only one who writes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.dialects import postgresql

from coordinator.archives import KEEP_BYTES, MAX_BYTES, ArchiveStore
from coordinator.core.errors import Invalid, NotFound
from coordinator.core.ids import AllocationId, JobId
from coordinator.disk import DiskFull
from coordinator.gaps import Gap, Gaps, dropped_bytes, tame_reason, to_json, with_gap
from coordinator.logfiles import DEFAULT_LIMIT, Chunk, Run, last_lines, parts_of, run_at, too_much
from coordinator.store import StoreFull
from coordinator.store.database import translated
from coordinator.store.leadership import Leadership
from coordinator.store.postgres import pooled_engine
from coordinator.store.schema import archive_pieces, archives, output_pieces, outputs

_CONNECTIONS = 4
_PIECE = 1 << 20


class SharedDatabase:
    """A few connections beside the leader's, for reading and for transactions that check its term."""

    def __init__(self, seat: Leadership) -> None:
        self._seat = seat
        self._engine: Engine = pooled_engine(seat.url, _CONNECTIONS)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises StoreError."""
        with translated(self._seat.url), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[Connection]:
        """A transaction in our term. Raises Deposed, StoreError, and DiskFull, which names ``what`` had no room."""
        try:
            with translated(self._seat.url), self._engine.begin() as connection:
                self._seat.fence(connection)
                yield connection
        except StoreFull as error:
            raise DiskFull(f"no space is left for {what}: {error}") from error

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()


@dataclass(frozen=True, slots=True)
class _Log:
    """Where an output ends, and what of it is not kept."""

    size: int = 0
    gaps: Gaps = ()


class SharedOutput:
    """``logstore.OutputFiles`` in the database: pieces by offset, and where each output ends and has gaps."""

    def __init__(self, database: SharedDatabase, limit: int = DEFAULT_LIMIT) -> None:
        """``limit`` bytes are kept of each. Reads where all outputs end. Raises StoreError."""
        self._database = database
        self._limit = limit
        self._reason = f"the coordinator's log limit of {limit / (1 << 20):g} MB"
        self._logs: dict[AllocationId, _Log] = {}
        with database.reading() as connection:
            for row in connection.execute(select(outputs.c.allocation_id, outputs.c.size, outputs.c.gaps)):
                gaps = tuple(Gap(*gap) for gap in json.loads(row.gaps))
                self._logs[AllocationId(row.allocation_id)] = _Log(row.size, gaps)

    def append(self, chunks: Sequence[Chunk]) -> dict[AllocationId, int]:
        """See ``LogFiles.append``. Raises Invalid, DiskFull, StoreError."""
        logs: dict[AllocationId, _Log] = {}
        pieces: list[dict[str, object]] = []
        for chunk in chunks:
            log = logs[chunk.allocation_id] = logs.get(chunk.allocation_id) or self._log(chunk.allocation_id)
            if _is_new(chunk, log.size):
                if chunk.offset > log.size:
                    gap = Gap(log.size, chunk.offset, tame_reason(chunk.reason))
                    log = _Log(chunk.offset, with_gap(log.gaps, gap))
                data = chunk.data[log.size - chunk.offset :]
                pieces.append({"allocation_id": chunk.allocation_id, "start": log.size, "data": data})
                logs[chunk.allocation_id] = _Log(log.size + len(data), log.gaps)
        grown = {name: log for name, log in logs.items() if log != self._log(name)}
        if grown:
            self._write(pieces, grown)
        return {name: log.size for name, log in logs.items()}

    def _write(self, pieces: list[dict[str, object]], grown: dict[AllocationId, _Log]) -> None:
        before = {name: self._log(name) for name in grown}
        dropped = []
        for name, log in grown.items():
            excess = too_much(log.size, log.gaps, self._limit)
            if excess is not None:
                grown[name] = _Log(log.size, with_gap(log.gaps, Gap(*excess, self._reason)))
                dropped.append((name, excess))
                # Told before the bytes go: a reader must not look for what is no more there.
                self._logs[name] = _Log(before[name].size, _within(grown[name].gaps, before[name].size))
        try:
            with self._database.writing("output") as connection:
                if any(piece["data"] for piece in pieces):
                    connection.execute(insert(output_pieces), [piece for piece in pieces if piece["data"]])
                for name, (start, end) in dropped:
                    _drop(connection, name, start, end)
                _keep_ends(connection, grown)
        except BaseException:
            self._logs.update(before)
            raise
        self._logs.update(grown)

    def read(self, allocation_id: AllocationId, offset: int, limit: int) -> Run:
        """See ``LogFiles.read``. Safe from any thread."""
        while True:
            log = self._log(allocation_id)
            run = run_at(log.size, log.gaps, offset, limit, lambda at, length: self._pread(allocation_id, at, length))
            if self._log(allocation_id).gaps == log.gaps:
                return run

    def size(self, allocation_id: AllocationId) -> int:
        """See ``LogFiles.size``."""
        return self._log(allocation_id).size

    def tail(self, allocation_id: AllocationId, lines: int) -> int:
        """See ``LogFiles.tail``. Safe from any thread."""
        log = self._log(allocation_id)
        return last_lines(lines, log.size, log.gaps, lambda at, length: self._pread(allocation_id, at, length))

    def dropped(self, job_id: JobId) -> dict[AllocationId, int]:
        """See ``LogFiles.dropped``. Safe from any thread."""
        mine = self._of_job(job_id)
        return {name: dropped_bytes(log.gaps) for name in mine if (log := self._log(name)).gaps}

    def delete(self, job_id: JobId) -> None:
        """Remove all output of a job."""
        mine = self._of_job(job_id)
        if mine:
            with self._database.writing("output") as connection:
                for table in (output_pieces, outputs):
                    connection.execute(delete(table).where(table.c.allocation_id.in_(mine)))
        for name in mine:
            self._logs.pop(name, None)

    def close(self) -> None:
        """The connections are closed by their owner."""

    def _log(self, allocation_id: AllocationId) -> _Log:
        parts_of(allocation_id)
        return self._logs.get(allocation_id, _Log())

    def _of_job(self, job_id: JobId) -> list[AllocationId]:
        # A copy: other threads look things up, and output of other jobs comes in, meanwhile.
        return [name for name in tuple(self._logs) if name.partition(".")[0] == job_id]

    def _pread(self, allocation_id: AllocationId, offset: int, length: int) -> bytes:
        piece = output_pieces.c
        mine = piece.allocation_id == allocation_id
        first = select(func.max(piece.start)).where(mine, piece.start <= offset).scalar_subquery()
        found = select(piece.start, piece.data).where(mine, piece.start >= first, piece.start < offset + length)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(piece.start)).all()
        data = b"".join(row.data for row in rows)
        return data[offset - rows[0].start :][:length] if rows else b""


def _is_new(chunk: Chunk, size: int) -> bool:
    """Whether a chunk goes on where the log ends, or says that what lies between was dropped. Raises Invalid."""
    if chunk.offset < 0 or not 0 <= chunk.dropped <= chunk.offset:
        raise Invalid(f"output of {chunk.allocation_id} can't begin at {chunk.offset - max(0, chunk.dropped)}")
    return chunk.offset + len(chunk.data) > size >= chunk.offset - chunk.dropped


def _within(gaps: Gaps, size: int) -> Gaps:
    return tuple(Gap(gap.start, min(gap.end, size), gap.reason) for gap in gaps if gap.start < size)


def _drop(connection: Connection, name: AllocationId, start: int, end: int) -> None:
    """Remove the pieces that lie within a gap; those that it cuts stay, and are not shown there."""
    piece = output_pieces.c
    inside = piece.start + func.length(piece.data) <= end
    connection.execute(
        delete(output_pieces).where(piece.allocation_id == name, piece.start >= start, piece.start < end, inside)
    )


def _keep_ends(connection: Connection, logs: dict[AllocationId, _Log]) -> None:
    rows = [
        {"allocation_id": name, "job_id": name.partition(".")[0], "size": log.size, "gaps": to_json(log.gaps).decode()}
        for name, log in logs.items()
    ]
    stored = postgresql.insert(outputs)
    changed = {"size": stored.excluded.size, "gaps": stored.excluded.gaps}
    connection.execute(stored.on_conflict_do_update(index_elements=["allocation_id"], set_=changed), rows)


class SharedArchives(ArchiveStore):
    """Archives in the database; ``directory`` only takes what is being received."""

    def __init__(
        self,
        directory: Path,
        database: SharedDatabase,
        max_bytes: int = MAX_BYTES,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        """Reads the hashes of all archives. Raises OSError, StoreError."""
        super().__init__(directory, max_bytes, keep_bytes)
        self._database = database
        self._used: dict[str, float] = {}
        self._began = time.time()
        with database.reading() as connection:
            self._hashes = set(connection.execute(select(archives.c.sha256)).scalars())

    def has(self, sha256: str) -> bool:
        """See ``ArchiveStore.has``."""
        return sha256 in self._hashes

    def use(self, sha256: str) -> bool:
        """See ``ArchiveStore.use``."""
        if not self.has(sha256):
            return False
        self._used[sha256] = time.time()
        return True

    def _prune(self, needed: frozenset[str], before: float) -> None:
        with self._database.writing("a job's files") as connection:
            found = connection.execute(select(archives.c.sha256, archives.c.size, archives.c.used_at)).all()
            excess = sum(row.size for row in found) - self._keep_bytes
            # Uses since this term began are in memory: writing each down would cost a transaction a submission.
            used = {row.sha256: max(row.used_at, self._used.get(row.sha256, self._began)) for row in found}
            for row in sorted(found, key=lambda row: used[row.sha256]):
                if excess > 0 and row.sha256 not in needed and used[row.sha256] < before:
                    for table in (archive_pieces, archives):
                        connection.execute(delete(table).where(table.c.sha256 == row.sha256))
                    self._hashes.discard(row.sha256)
                    excess -= row.size

    async def open(self, sha256: str) -> AsyncIterator[bytes]:
        """See ``ArchiveStore.open``."""
        if not self.has(sha256):
            raise NotFound(f"there is no archive {sha256[:64]!r}; submit the job again, with its files")
        number = 0
        while piece := await asyncio.to_thread(self._piece, sha256, number):
            yield piece
            number += 1

    def _piece(self, sha256: str, number: int) -> bytes:
        piece = archive_pieces.c
        with self._database.reading() as connection:
            found = select(piece.data).where(piece.sha256 == sha256, piece.number == number)
            return connection.execute(found).scalar() or b""

    def _keep(self, temporary: Path, digest: str) -> None:
        if not self.has(digest):
            with self._database.writing("a job's files") as connection:
                # Whoever sends the same files at the same time waits here, and then changes nothing.
                row = postgresql.insert(archives).values(
                    sha256=digest, size=temporary.stat().st_size, used_at=time.time()
                )
                made = connection.execute(row.on_conflict_do_nothing().returning(archives.c.sha256)).first()
                if made is not None:
                    _send(connection, temporary, digest)
            self._hashes.add(digest)
        self._used[digest] = time.time()
        temporary.unlink()


def _send(connection: Connection, file: Path, digest: str) -> None:
    with file.open("rb", buffering=0) as content:
        number = 0
        while data := content.read(_PIECE):
            connection.execute(insert(archive_pieces).values(sha256=digest, number=number, data=data))
            number += 1
