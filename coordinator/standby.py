"""A coordinator while another one leads: it says so at its ports, and waits for the lead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TextIO, TypeVar

import structlog
from rallypoint import systemd

from coordinator.access.server_identity import ServerIdentity
from coordinator.greeting import Endpoints, write_endpoints
from coordinator.install.site import InstallSite
from coordinator.listeners import Fronts, open_ports
from coordinator.rpc.standby import standby_server
from coordinator.settings import Settings
from coordinator.store import StoreError, StoreTooNew
from coordinator.store.leadership import Leadership, Member
from coordinator.web.standby import standby_app

log = structlog.get_logger(__name__)
T = TypeVar("T")

POLL_SECONDS = 0.5
InWriter = Callable[[Callable[[], T]], Awaitable[T]]


class Standby:
    """Holds the ports of one that stands by; ``in_writer`` runs a call in the thread that the seat belongs to."""

    def __init__(
        self,
        settings: Settings,
        seat: Leadership,
        identity: ServerIdentity,
        in_writer: InWriter[object],
        install: InstallSite,
    ) -> None:
        self._settings = settings
        self._seat = seat
        self._identity = identity
        self._in_writer = in_writer
        self._install = install
        self._leader: Member | None = None
        self._away = ""

    async def until_leading(self, stop: asyncio.Event, out: TextIO) -> bool:
        """Stand by until the lead is had, which returns True, or ``stop`` is set. Raises CannotServe, StoreTooNew."""
        async with AsyncExitStack() as stack:
            fronts = Fronts(
                agents=standby_server(lambda: self._leader.agents if self._leader else ""),
                api=standby_server(self._leads_at),
                site=lambda port: standby_app(self._leads_at),
                install=self._install,
            )
            endpoints = await open_ports(fronts, self._settings, self._identity, stack, 0.0)
            await fronts.agents.start()
            me = endpoints.member()
            await self._look(me)
            write_endpoints(self._settings.data_dir, endpoints)
            self._greet(out, endpoints)
            while not stop.is_set():
                if await self._look(me):
                    log.info("standby.takes_over", term=self._seat.term)
                    return True
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await stop.wait()
                systemd.notify("WATCHDOG=1")
        return False

    async def _look(self, me: Member) -> bool:
        """Whether the lead is had now. A database that is away is waited for."""
        try:
            self._leader = await self._in_writer(lambda: self._seat.stand(me))  # type: ignore[assignment]
            taken = bool(await self._in_writer(self._seat.take))
        except StoreTooNew:
            raise
        except StoreError as error:
            if not self._away:
                log.warning("standby.database_away", reason=str(error))
            self._away = str(error)
            return False
        self._away = ""
        return taken

    def _leads_at(self) -> str:
        return self._leader.api if self._leader is not None else ""

    def _greet(self, out: TextIO, endpoints: Endpoints) -> None:
        leads = f"the one at {self._leads_at()} leads" if self._leader else "another one leads"
        print(f"coordinator stands by at {endpoints.public()}: {leads}", file=out, flush=True)
        log.info("coordinator.standing_by", leader=self._leads_at(), **endpoints.as_log())
        systemd.notify("READY=1", f"STATUS=standing by: {leads}")
