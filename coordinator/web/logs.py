"""The output of a node: as events for the page, or as the plain bytes for a download."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator

from aiohttp import web

from coordinator.core.errors import Invalid
from coordinator.gaps import mark
from coordinator.views import Reader
from coordinator.web.answers import dumps
from coordinator.web.ports import LogReader
from coordinator.web.stream import Event, Streams

CHUNK = 64 * 1024
# What the page shows of output that is already there; the rest can be downloaded.
TAIL = 256 * 1024


class Logs:
    """Handlers for ``/api/jobs/{ref}/logs``."""

    def __init__(self, reader: Reader, logs: LogReader, streams: Streams) -> None:
        self._reader = reader
        self._logs = logs
        self._streams = streams

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Events to those that accept them; otherwise all bytes stored so far, as a file. Raises NotFound, Invalid."""
        rank = _whole(request.query.get("rank", "0"), "rank")
        detail = await self._reader.job(request.match_info["ref"])
        job = detail.job.job
        if rank >= job.spec.nodes:
            raise Invalid(f"job '{job.name}' has no rank {rank}; its ranks are 0 to {job.spec.nodes - 1}")
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._streams.serve(request, self._events(job.id, rank, _resume_at(request)))
        return await self._download(request, job.id, f"{job.name}-{rank}.log", rank)

    async def _events(self, job_id: str, rank: int, resume_at: int | None) -> AsyncIterator[Event]:
        size = await self._logs.size(job_id, rank)
        tail = max(0, size - TAIL)
        # A position beyond the end is one of a former attempt, which wrote more.
        start = tail if resume_at is None or resume_at > size else resume_at
        yield Event("start", dumps({"version": 1, "offset": start, "size": size}))
        end = start
        async for piece in self._logs.follow(job_id, rank, start):
            begin = piece.offset - piece.dropped
            if begin < end:
                yield Event("again", "{}")
            end = piece.end
            if piece.dropped:
                gap = {"version": 1, "offset": begin, "dropped_bytes": piece.dropped, "drop_reason": piece.reason}
                yield Event("dropped", dumps(gap), id=str(piece.offset))
            for at in range(0, len(piece.data), CHUNK):
                part = piece.data[at : at + CHUNK]
                # Base64: output is bytes, and an event is text of one line.
                yield Event("output", base64.b64encode(part).decode(), id=str(piece.offset + at + len(part)))
        yield Event("end", "{}")

    async def _download(self, request: web.Request, job_id: str, name: str, rank: int) -> web.StreamResponse:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f'attachment; filename="{safe}"'}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        offset = 0
        end = await self._logs.size(job_id, rank)
        while offset < end:
            run = await self._logs.read(job_id, rank, offset, min(CHUNK, end - offset))
            if run.end == offset:
                break
            # A file that lacks bytes in silence would mislead whoever has no more than the file.
            await response.write(f"\n{mark(run.dropped, run.reason)}\n".encode() if run.dropped else run.data)
            offset = run.end
        return response


def _resume_at(request: web.Request) -> int | None:
    """Where to go on: after what a reconnecting browser has, else at ``?from=``, else nowhere. Raises Invalid."""
    for text in (request.headers.get("Last-Event-ID"), request.query.get("from")):
        if text:
            return _whole(text, "from")
    return None


def _whole(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise Invalid(f"{name}={text[:40]!r} is not a whole number from 0 on")
    return int(text)
