"""Live documents: built when the engine changes, at most a few times a second, once for all who watch the same page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from coordinator.core.errors import NotFound
from coordinator.views import OverviewView, Reader
from coordinator.web import documents
from coordinator.web.answers import dumps
from coordinator.web.delta import Document, difference
from coordinator.web.documents import Page
from coordinator.web.stream import Event

PAUSE = 0.3
# Watching may take this part of the coordinator's time: pauses grow with what a document costs.
MAX_SHARE = 0.05


class Live:
    """Follows the engine for pages."""

    def __init__(self, reader: Reader, pause: float = PAUSE) -> None:
        self._reader = reader
        self._pause = pause
        self._lock = asyncio.Lock()
        self._version = -1
        self._pages: dict[Page, Document] = {}
        self._view: OverviewView | None = None

    def overview(self, page: Page) -> AsyncIterator[Event]:
        """The cluster's document, then what changes of it."""
        return self._follow(lambda version: self._overview(version, page))

    def job(self, ref: str, page: Page) -> AsyncIterator[Event]:
        """A job's document, then what changes of it, and ``gone`` when the job is forgotten meanwhile."""

        async def build(_: int) -> Document:
            return documents.job(await self._reader.job(ref, documents.nodes_of(page)), page)

        return _until_gone(self._follow(build))

    async def _follow(self, build: Callable[[int], Awaitable[Document]]) -> AsyncIterator[Event]:
        version = 0
        last: Document | None = None
        while True:
            started = time.monotonic()
            document = await build(version)
            cost = time.monotonic() - started
            if last is None:
                yield Event("snapshot", dumps(document))
            else:
                changed = difference(last, document)
                if changed:
                    yield Event("change", dumps(changed))
            last = document
            # First the pause, then the wait: what changes in the pause is seen as one change after it.
            await asyncio.sleep(max(self._pause, cost / MAX_SHARE))
            version = await self._reader.next_version(version)

    async def _overview(self, version: int, page: Page) -> Document:
        async with self._lock:
            # Version 0 is a page that was just opened: it must not see less than what its user knows.
            if self._view is None or version > self._version or version == 0:
                self._view = await self._reader.overview()
                self._version = max(version, self._version)
                self._pages.clear()
            document = self._pages.get(page)
            if document is None:
                document = await asyncio.to_thread(documents.overview, self._view, page)
                self._pages[page] = document
            return document


async def _until_gone(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    try:
        async for event in events:
            yield event
    except NotFound:
        yield Event("gone", "{}")
