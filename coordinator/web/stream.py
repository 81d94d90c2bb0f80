"""Server-sent events. A stream beats while idle; it ends when the client, its right or the coordinator does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

BEAT = 15.0
WRITE_LIMIT = 30.0
MAX_STREAMS = 256


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``data`` must be one line; ``id`` is what a client that reconnects says it has."""

    name: str
    data: str
    id: str = ""

    def encode(self) -> bytes:
        """The event as it goes over the wire."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: {self.data}\n\n".encode()


StillAllowed = Callable[[web.Request], Awaitable[object | None]]


class Streams:
    """All open streams of one coordinator."""

    def __init__(self, still_allowed: StillAllowed, beat: float = BEAT) -> None:
        self._still_allowed = still_allowed
        self._beat = beat
        self._closing = asyncio.Event()
        self.open = 0

    async def close(self, _: web.Application) -> None:
        """End all streams: a signal handler for the application's shutdown."""
        self._closing.set()

    async def serve(self, request: web.Request, events: AsyncIterator[Event]) -> web.StreamResponse:
        """Answer with events until they end. Raises HTTPServiceUnavailable if too many streams are open."""
        if self.open >= MAX_STREAMS or self._closing.is_set():
            raise web.HTTPServiceUnavailable(reason="Too many live views are open; close some")
        self.open += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
            await response.prepare(request)
            # Clients try again this soon (milliseconds) when the connection breaks.
            await response.write(b"retry: 1000\n\n")
            try:
                await self._pump(request, response, events)
            except (ConnectionError, TimeoutError):
                _hang_up(request)
            return response
        finally:
            self.open -= 1

    async def _pump(self, request: web.Request, response: web.StreamResponse, events: AsyncIterator[Event]) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        following = asyncio.ensure_future(_next(events))
        try:
            while not closing.done():
                await asyncio.wait({closing, following}, timeout=self._beat, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    event = following.result()
                    if event is None:
                        return
                    await _write(response, event.encode())
                    following = asyncio.ensure_future(_next(events))
                elif not closing.done():
                    if await self._still_allowed(request) is None:
                        await _write(response, Event("signed-out", "{}").encode())
                        return
                    await _write(response, b": beat\n\n")
        finally:
            closing.cancel()
            following.cancel()
            await asyncio.gather(closing, following, return_exceptions=True)


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    # A client that takes nothing for this long must not hold its events, nor the coordinator's end.
    async with asyncio.timeout(WRITE_LIMIT):
        await response.write(data)


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
