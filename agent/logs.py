"""Sends output from the files that the processes write, by offset. It never touches a process, nor waits for one."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.core.model import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent.core.model import AllocationId, Observed
    from agent.places import Places

log = structlog.get_logger()

CHUNK_BYTES = 256 * 1024
CALL_BYTES = 1024 * 1024
LOOK_SECONDS = 0.15
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one allocation's output."""

    allocation: AllocationId
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """How much of a log the coordinator has; ``unknown``: it wants no more of it."""

    allocation: AllocationId
    offset: int
    unknown: bool = False


class PublishFailed(Exception):
    """The chunks did not arrive; they are sent again."""


class LogPublisher:
    """Publishes what grows, one call at a time. ``send`` may raise PublishFailed; ``done`` is told of the ends."""

    def __init__(
        self,
        places: Places,
        observed: Mapping[AllocationId, Observed],
        send: Callable[[Sequence[Chunk]], Awaitable[list[Position]]],
        done: Callable[[AllocationId], None],
    ) -> None:
        self._places = places
        self._observed = observed
        self._send = send
        self._done = done
        self._offsets: dict[AllocationId, int] = {}
        self._unwanted: set[AllocationId] = set()
        self._unsure: set[AllocationId] = set()
        self._first = 0
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something has started or ended: look now."""
        self._wake.set()

    def ask_again(self) -> None:
        """A session was opened: the coordinator may have less than it had, if a backup of it was put back."""
        self._unsure = {key for key, offset in self._offsets.items() if offset}
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. Sleeps while nothing runs and nothing is unsent."""
        while True:
            self._wake.clear()
            pause: float | None = None
            try:
                if await self._round():
                    continue
                if self._watching():
                    pause = LOOK_SECONDS
            except PublishFailed as error:
                log.debug("logs.not_published", reason=str(error))
                pause = RETRY_SECONDS
            await self._sleep(pause)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _watching(self) -> bool:
        live = (Phase.RUNNING, Phase.STOPPING)
        return any(seen.phase in live or not seen.log_done for seen in self._observed.values())

    async def _round(self) -> bool:
        """Send one call's worth; whether anything was sent."""
        chunks = self._chunks()
        if not chunks:
            return False
        for position in await self._send(chunks):
            self._offsets[position.allocation] = position.offset
            self._unsure.discard(position.allocation)
            if position.unknown:
                self._unwanted.add(position.allocation)
        self._finish()
        return True

    def _chunks(self) -> list[Chunk]:
        """Pieces of several logs; each call begins with another one, so that a flood does not hold up the rest."""
        growing = [seen for seen in self._observed.values() if seen.phase is not Phase.PREPARING and not seen.log_done]
        start = self._first % len(growing) if growing else 0
        self._first += 1
        chunks: list[Chunk] = []
        room = CALL_BYTES
        for seen in growing[start:] + growing[:start]:
            chunk = self._next(seen, min(CHUNK_BYTES, room))
            if chunk is not None:
                chunks.append(chunk)
                room -= len(chunk.data)
            if room <= 0:
                break
        return chunks

    def _next(self, seen: Observed, size: int) -> Chunk | None:
        if seen.id in self._unwanted:
            self._finish_one(seen)
            return None
        offset = self._offsets.get(seen.id, 0)
        if seen.id in self._unsure:
            # Nothing to add: the answer says how much is there.
            return Chunk(seen.id, offset, b"")
        data = _read(self._places.log_of(seen.id), offset, size)
        if data:
            return Chunk(seen.id, offset, data)
        self._finish_one(seen)
        return None

    def _finish(self) -> None:
        for seen in list(self._observed.values()):
            if seen.phase is Phase.ENDED and not seen.log_done:
                published = self._offsets.get(seen.id, 0) >= seen.log_bytes
                if published or seen.id in self._unwanted:
                    self._finish_one(seen)

    def _finish_one(self, seen: Observed) -> None:
        if seen.phase is Phase.ENDED:
            self._offsets.pop(seen.id, None)
            self._unwanted.discard(seen.id)
            self._done(seen.id)


def _read(path: str, offset: int, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, offset)
    except OSError:
        return b""
    finally:
        os.close(fd)
