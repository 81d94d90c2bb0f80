"""The output of nodes, for readers: which attempt is meant, what is stored of it, and when it is complete.

Bytes come from the log store, ends from the engine; a log is complete when its attempt has ended and as many bytes
are stored as its agent counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.core.ids import AllocationId, JobId, allocation_id
from coordinator.core.model import HostState, Node, NodeState
from coordinator.core.state import State
from coordinator.engine import Engine
from coordinator.lastlines import last_line
from coordinator.logfiles import Run
from coordinator.logstore import LogStore
from coordinator.paging import NodeQuery
from coordinator.views import FIRST_NODES, JobDetail, NodeView

CHUNK = 256 * 1024
# An end is told before the last of its output is sent: who reads right after it waits so long for the rest, in seconds.
REST_SECONDS = 3.0
# A reader looks again at most so often, however much is written: output is for people.
INTERVAL = 0.02
# A node's last line is looked for in so much of the end of its output.
LAST_LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Selection:
    """Whose output: one node's or, with ``rank=None``, every node's; one attempt's, or the latest of each.

    ``lines``: of what is stored now only the last so many lines of each node.
    """

    job_id: JobId
    rank: int | None = None
    attempt: int | None = None
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one attempt's output from ``offset``, or, without any, ``dropped`` bytes before ``offset`` and why."""

    rank: int
    attempt: int
    offset: int
    data: bytes
    dropped: int = 0
    reason: str = ""

    @property
    def end(self) -> int:
        """Where the next piece of the attempt begins."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class _Source:
    """One attempt's output, of ``node`` as it was; ``total`` is its final size once the attempt has ended."""

    id: AllocationId
    node: Node
    attempt: int
    total: int | None

    @property
    def rank(self) -> int:
        """The node's."""
        return self.node.rank


@dataclass(frozen=True, slots=True)
class _Look:
    """The sources of a selection at one moment, and whether there may be more of them."""

    sources: tuple[_Source, ...]
    final: bool
    version: int

    @property
    def ended(self) -> bool:
        """Whether all of it has ended, and no more can come than is on its way."""
        return self.final and all(source.total is not None for source in self.sources)


class Outputs:
    """Reads and follows output."""

    def __init__(self, engine: Engine, logs: LogStore) -> None:
        self._engine = engine
        self._logs = logs

    async def pieces(self, selection: Selection, *, follow: bool, start: int = 0) -> AsyncIterator[Piece]:
        """What is stored, rank by rank; with ``follow`` also what comes, until all that is selected is complete.

        Without it, only the rest of what has ended is waited for, and only a moment.

        ``start``: leave out so many bytes of the attempts that are the latest now, not of later ones.
        """
        offsets: dict[AllocationId, int] | None = None
        until = None if follow else asyncio.get_running_loop().time() + REST_SECONDS
        # Nodes whose output is read to its end. Records never change, so identity tells that nothing came after.
        finished: dict[int, Node] = {}
        while True:
            seen = self._logs.version(selection.job_id)
            look = await self._engine.read(lambda state: _look(state, selection, finished))
            if offsets is None:
                offsets = {source.id: await self._first(source, selection, start) for source in look.sources}
            complete = look.final
            for source in look.sources:
                async for piece in self._rest(source, offsets.get(source.id, 0)):
                    offsets[source.id] = piece.end
                    yield piece
                end = offsets.get(source.id, 0)
                read = source.total is not None and end >= source.total
                if read and end >= source.node.log_bytes and selection.attempt is None:
                    # Not where a host is lost with the rest of it: that may come back.
                    finished[source.rank] = source.node
                complete = complete and read
            if complete or (until is not None and not look.ended):
                return
            try:
                async with asyncio.timeout_at(until):
                    await self._anything(selection.job_id, seen, look.version)
            except TimeoutError:
                return

    async def _first(self, source: _Source, selection: Selection, start: int) -> int:
        return start if selection.lines is None else await self._logs.tail(source.id, selection.lines)

    async def _rest(self, source: _Source, offset: int) -> AsyncIterator[Piece]:
        while offset < self._logs.size(source.id):
            run = await self._logs.read(source.id, offset, CHUNK)
            if run.end == offset:
                return
            yield Piece(source.rank, source.attempt, run.offset, run.data, run.dropped, run.reason)
            offset = run.end

    async def _anything(self, job_id: JobId, log_version: int, engine_version: int) -> None:
        """Wait until the job's output or anything in the engine changed. Raises EngineFailed when it stops."""
        waits = [
            asyncio.ensure_future(self._logs.changed(job_id, log_version)),
            asyncio.ensure_future(self._engine.next_version(engine_version)),
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.sleep(INTERVAL)

    # ------------------------------------------------------------ as the web page asks

    async def job(self, ref: str, query: NodeQuery = FIRST_NODES) -> JobDetail:
        """A job with the nodes that are asked for, and how much of their output was dropped. Raises NotFound."""
        detail = await self._engine.job(ref, query)
        dropped = await self._logs.dropped(detail.job.job.id)
        if not dropped:
            return detail
        views = (replace(view, log_dropped=dropped.get(_id_of(view.node), 0)) for view in detail.nodes)
        return replace(detail, nodes=tuple(views))

    async def with_last_lines(self, nodes: Sequence[NodeView]) -> tuple[NodeView, ...]:
        """The nodes with the last line of each one's output."""
        return tuple([replace(view, last_line=await self._last_line(_id_of(view.node))) for view in nodes])

    async def _last_line(self, attempt: AllocationId) -> str:
        size = self._logs.size(attempt)
        if not size:
            return ""
        run = await self._logs.read(attempt, max(0, size - LAST_LINE_BYTES), LAST_LINE_BYTES)
        return last_line(run.data)

    async def size(self, job_id: str, rank: int) -> int:
        """Where the output of the node's latest attempt ends."""
        source = await self._source(job_id, rank)
        return self._logs.size(source.id) if source is not None else 0

    async def read(self, job_id: str, rank: int, offset: int, limit: int) -> Run:
        """Up to ``limit`` bytes of the node's latest attempt, or the gap there; neither at the end of what there is."""
        source = await self._source(job_id, rank)
        return await self._logs.read(source.id, offset, limit) if source is not None else Run(offset, b"")

    def follow(self, job_id: str, rank: int, offset: int) -> AsyncIterator[Piece]:
        """The node's output from ``offset`` on, until it is complete."""
        return self.pieces(Selection(JobId(job_id), rank), follow=True, start=offset)

    async def _source(self, job_id: str, rank: int) -> _Source | None:
        look = await self._engine.read(lambda state: _look(state, Selection(JobId(job_id), rank), {}))
        return look.sources[0] if look.sources else None


class Reading:
    """The engine for readers, with what is known of nodes' output: a ``views.Reader``."""

    def __init__(self, engine: Engine, outputs: Outputs) -> None:
        self.overview = engine.overview
        self.job = outputs.job
        self.next_version = engine.next_version


def _id_of(node: Node) -> AllocationId:
    return allocation_id(node.job_id, node.rank, node.attempt)


def _look(state: State, selection: Selection, finished: Mapping[int, Node]) -> _Look:
    """Whose output is to be read, without nodes that are ``finished`` as they are."""
    job = state.jobs.get(selection.job_id)
    if job is None:
        return _Look((), True, state.version)
    nodes = state.nodes[job.id]
    if selection.rank is None:
        # Of a hundred thousand nodes most have long been read.
        ranks = sorted(rank for rank, node in nodes.items() if finished.get(rank) is not node)
    else:
        ranks = [selection.rank] if selection.rank in nodes else []
    sources = tuple(_source(state, nodes[rank], selection.attempt) for rank in ranks)
    chosen = nodes.get(selection.rank) if selection.rank is not None else None
    final = job.state.ended or (chosen is not None and chosen.state.ended and job.id not in state.gangs)
    return _Look(sources, final, state.version)


def _source(state: State, node: Node, attempt: int | None) -> _Source:
    if attempt is not None and attempt != node.attempt:
        other = allocation_id(node.job_id, node.rank, attempt)
        # One of several copies may still write; an earlier attempt gets no more output that anyone waits for.
        return _Source(other, node, attempt, None if other in state.allocations else 0)
    total = node.log_bytes if node.state.ended or node.state is NodeState.PENDING else None
    host = state.hosts.get(node.host_id) if node.host_id is not None else None
    if total is not None and (host is None or host.state is HostState.LOST):
        # Nobody is left to send the rest.
        total = 0
    return _Source(_id_of(node), node, node.attempt, total)
