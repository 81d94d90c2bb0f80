"""Where a coordinator keeps things: its data directory, and with PostgreSQL a seat at the database that it shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from rallypoint.files import make_private_dir

from coordinator.access import ca
from coordinator.archives import ArchiveStore
from coordinator.logstore import LogStore
from coordinator.settings import Settings
from coordinator.shared_files import SharedArchives, SharedDatabase, SharedOutput
from coordinator.store import StoreError
from coordinator.store.leadership import Leadership
from coordinator.store.lock import DirectoryLock

T = TypeVar("T")


@dataclass(slots=True)
class Place:
    """Where this coordinator keeps things: its directory, and its seat at PostgreSQL unless it uses SQLite.

    The store, and with it the seat, belong to the thread of ``writer``.
    """

    settings: Settings
    writer: ThreadPoolExecutor
    seat: Leadership | None

    async def in_writer(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, work)

    def agent_addresses(self) -> tuple[str, ...]:
        """Where coordinators answer agents; empty when there is but one."""
        return () if self.seat is None else tuple(member.agents for member in self.seat.members)

    def api_addresses(self) -> tuple[str, ...]:
        """Where coordinators answer commands and those who join; empty when there is but one."""
        return () if self.seat is None else tuple(member.api for member in self.seat.members)

    def leads(self) -> bool:
        """Whether calls may be answered. With SQLite the directory's lock is proof enough."""
        return self.seat is None or self.seat.leads()


@asynccontextmanager
async def open_place(settings: Settings, on_lost: Callable[[StoreError], None]) -> AsyncIterator[Place]:
    """The data directory, and a seat at PostgreSQL. ``on_lost`` is told, in the event loop, when the lead is lost.

    Raises StoreBusy, StoreError.
    """
    make_private_dir(settings.data_dir)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="store") as writer:
        place = Place(settings, writer, None)
        if settings.database_url is None:
            yield place
            return
        # A second coordinator on this directory must not touch anything in it, wherever the database is.
        lock = DirectoryLock(settings.data_dir)
        try:
            url = settings.database_url
            seat = await place.in_writer(lambda: Leadership(url, lambda error: _tell(loop, on_lost, error)))
            place.seat = seat
            try:
                yield place
            finally:
                seat.give_up()
                await place.in_writer(seat.close)
        finally:
            lock.release()


async def authority_of(place: Place) -> ca.Authority:
    """The cluster's CA; with PostgreSQL the one that all coordinators have."""
    directory, seat = place.settings.data_dir / "ca", place.seat
    if seat is None:
        return ca.load_or_create(directory, time.time())
    known = await place.in_writer(seat.ca_pem)
    authority = ca.load_shared(directory, known, time.time(), may_create=True)
    if not known:
        await place.in_writer(lambda: seat.set_ca(authority.certificate_pem.decode()))
    return authority


def files_of(place: Place, stack: ExitStack) -> tuple[LogStore, ArchiveStore]:
    """Where output and files of jobs are: in the data directory, or where the next leader finds them."""
    settings, data_dir = place.settings, place.settings.data_dir
    if place.seat is None:
        logs = LogStore(data_dir / "logs", settings.log_limit)
        return logs, ArchiveStore(data_dir / "archives", keep_bytes=settings.archive_keep)
    database = SharedDatabase(place.seat)
    stack.callback(database.close)
    logs = LogStore(SharedOutput(database, settings.log_limit))
    return logs, SharedArchives(data_dir / "archives", database, keep_bytes=settings.archive_keep)


def _tell(loop: asyncio.AbstractEventLoop, on_lost: Callable[[StoreError], None], error: StoreError) -> None:
    loop.call_soon_threadsafe(on_lost, error)
