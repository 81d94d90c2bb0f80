"""Files that jobs bring along: uploaded by users, fetched and unpacked by the production `agent.archive`, on files in
memory, over calls that are cut off."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.archive import ArchiveCache, ArchiveError, FetchCut

if TYPE_CHECKING:
    from tests.sim.agent import Agent

KEEPALIVE_SECONDS = 15.0
# Room for two of them: a third one takes the place of the one that was used longest ago.
KEEP_BYTES = 2 * tarfile.RECORDSIZE
# What arrives of an archive: some of it, its end (None), or why there is no more.
Piece = bytes | Exception | None


def packed(text: str) -> tuple[str, bytes]:
    """An archive with one file that says ``text``: its hash and its bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("said")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


class Archives:
    """What one life of the daemon does with archives. ``folder`` outlives it."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self._agent = agent
        self._work = folder / "work"
        self._work.mkdir(parents=True, exist_ok=True)
        self._cache = ArchiveCache(folder, self._fetch, KEEP_BYTES)
        self._streams: set[asyncio.Future[Piece]] = set()

    async def unpack(self, sha256: str, key: str, owner: None = None) -> None:
        """See `agent.archive`; looks at what it did."""
        target = self._work / key
        target.mkdir(exist_ok=True)
        await self._cache.unpack(sha256, str(target))
        self._agent.world.ledger.output.unpacked(key, (target / "said").read_text())

    def cut(self) -> None:
        """The session is over, and with it what comes on its channel."""
        self._end(self._streams)
        self._streams.clear()

    def _end(self, pieces: Iterable[asyncio.Future[Piece]]) -> None:
        for waiting in pieces:
            if not waiting.done():
                waiting.set_result(FetchCut("the session ended meanwhile"))

    async def _fetch(self, sha256: str) -> AsyncIterator[bytes]:
        contact = self._agent.contact
        if contact is None or contact.over or not contact.opened:
            raise FetchCut("no session is open")
        pieces: list[Any] = [self._piece() for _ in range(3)]
        self._agent.world.call_up(self._agent.host.link, self._deliver, sha256, pieces)
        # What the network lost, the channel's keep-alive ends.
        self._agent.world.clock.after(KEEPALIVE_SECONDS, self._agent.process, self._end, pieces)
        for piece in pieces:
            data = await piece
            if isinstance(data, Exception):
                raise data
            if data is None:
                return
            yield data

    def _piece(self) -> asyncio.Future[Piece]:
        assert self._agent.process.loop is not None
        waiting = self._agent.process.loop.create_future()
        self._streams.add(waiting)
        return waiting

    def _deliver(self, sha256: str, pieces: list[asyncio.Future[Piece]]) -> None:
        world = self._agent.world
        if world.coordinator is None:
            world.network.down(self._agent.host.link, self._agent.process, self.cut)
            return
        data = world.archives.get(sha256)
        half = 0 if data is None else len(data) // 2
        answers: list[Any] = [ArchiveError("no such archive")] if data is None else [data[:half], data[half:], None]
        for piece, answer in zip(pieces, answers, strict=False):
            world.network.down(self._agent.host.link, self._agent.process, _arrive, piece, answer)


def _arrive(piece: asyncio.Future[Piece], answer: Piece) -> None:
    if not piece.done():
        piece.set_result(answer)
