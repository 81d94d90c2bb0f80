"""Sends output from the files that the processes write, by offset. It never touches a process, nor waits for one.

What is sent and what is let go of is decided in `agent.core.outflow`; here are the files, the calls and the clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from agent.core.model import Phase
from agent.core.outflow import Limits, Look, Outflow, Position
from agent.logfiles import LogFiles
from agent.spawner.wire import now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent.core.model import AllocationId, Observed
    from agent.places import Places

log = structlog.get_logger()

LOOK_SECONDS = 0.15
# However often something begins or ends, so long at least is between two looks.
GAP_SECONDS = 0.02
# What has, or may have, an output file.
WRITTEN = (Phase.RUNNING, Phase.STOPPING, Phase.ENDED)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one allocation's output; ``dropped`` bytes just before it are gone, for ``reason``."""

    allocation: AllocationId
    offset: int
    data: bytes
    dropped: int = 0
    reason: str = ""


class PublishFailed(Exception):
    """The chunks did not arrive; they are sent again."""


class LogPublisher:
    """Publishes what grows, one call at a time, and keeps the files within ``limits``, also while a call takes long.

    ``send`` may raise PublishFailed; ``done`` is told of the ends.
    """

    def __init__(
        self,
        places: Places,
        observed: Mapping[AllocationId, Observed],
        send: Callable[[Sequence[Chunk]], Awaitable[list[Position]]],
        done: Callable[[AllocationId], None],
        limits: Limits,
    ) -> None:
        self._files = LogFiles(places)
        self._observed = observed
        self._send = send
        self._done = done
        self._limits = limits
        self._flow = Outflow(limits)
        self._call: asyncio.Task[list[Position]] | None = None
        self._ask = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something has started or ended: look now."""
        self._wake.set()

    def ask_again(self) -> None:
        """A session was opened: the coordinator may have less than it had, if a backup of it was put back."""
        self._ask = True
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. Sleeps while nothing runs and nothing is unsent."""
        records = await asyncio.to_thread(self._files.open)
        limits = self._limits if self._files.frees else replace(self._limits, keep=None, total=None)
        self._flow = Outflow(limits, records)
        try:
            while True:
                self._wake.clear()
                began = now()
                await self._turn()
                await self._sleep(LOOK_SECONDS if self._call is not None or self._watching() else None)
                await asyncio.sleep(max(0.0, began + GAP_SECONDS - now()))
        finally:
            if self._call is not None:
                self._call.cancel()
                await asyncio.gather(self._call, return_exceptions=True)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _watching(self) -> bool:
        return any(seen.phase in WRITTEN and not seen.log_done for seen in self._observed.values())

    async def _turn(self) -> None:
        """Take in what the call under way has brought, look at all files, and begin the next call."""
        self._take_answer()
        if self._ask and self._call is None:
            self._flow.ask_again()
            self._ask = False
        watched = [seen for seen in self._observed.values() if seen.phase in WRITTEN and not seen.log_done]
        chunks = await asyncio.to_thread(self._look, watched, self._call is None)
        for key in self._flow.finished():
            self._done(key)
        if chunks:
            self._call = asyncio.ensure_future(self._send(chunks))
            self._call.add_done_callback(lambda _: self._wake.set())

    def _take_answer(self) -> None:
        if self._call is None or not self._call.done():
            return
        call, self._call = self._call, None
        try:
            self._flow.answered(call.result(), now())
        except PublishFailed as error:
            log.debug("logs.not_published", reason=str(error))
            self._flow.failed(now())

    def _look(self, watched: Sequence[Observed], idle: bool) -> list[Chunk]:
        """Keep the files within their bounds; what to send next, if no call is under way. Runs in a thread."""
        looks = [
            Look(seen.id, self._files.size(seen.id), seen.phase is Phase.ENDED, seen.log_bytes, seen.rebooted)
            for seen in watched
        ]
        frees = self._flow.look(looks, self._files.free_bytes())
        self._files.keep(self._flow.records(), frees)
        if not idle:
            return []
        sends = self._flow.plan(now())
        chunks = [Chunk(each.key, each.offset, self._files.read(each), each.dropped, each.reason) for each in sends]
        # One without a byte is a question, or tells of a gap, unless its bytes went away meanwhile.
        return [chunk for chunk, send in zip(chunks, sends, strict=True) if chunk.data or not send.length]
