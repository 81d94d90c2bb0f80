"""How a host goes: drained by its own wish, so that its work runs elsewhere, and forgotten by its cluster if it is
ephemeral. All of it in bounded time, with or without a coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from agent.closed import write_line
from agent.session import ContactLost

if TYPE_CHECKING:
    from pathlib import Path

    from agent.session import Session
    from agent.work import Work

log = structlog.get_logger()

_LEAVING_FILE = "leaving"
# Of the time that there is, so much is for work that the coordinator did not stop in time: signal, grace, kill.
_LOCAL_PART = 0.3
_LONGEST_GRACE = 10.0
# After everything has ended, for its last reports and output to be taken.
_TELL_SECONDS = 3.0


class Left(Exception):
    """This host has left its cluster: the message says why."""


def mark_leaving(state_dir: Path, reason: str) -> None:
    """The drain that this host asks for outlasts reconnections, though not the agent's next start."""
    with contextlib.suppress(OSError):
        write_line(state_dir / _LEAVING_FILE, reason)


def is_leaving(state_dir: Path) -> bool:
    """Whether this host has asked for its own drain."""
    return (state_dir / _LEAVING_FILE).exists()


def unmark_leaving(state_dir: Path) -> None:
    """It is to get work again."""
    with contextlib.suppress(OSError):
        (state_dir / _LEAVING_FILE).unlink(missing_ok=True)


class Departure:
    """Makes the host of ``session`` and ``work`` go; ``forgotten``: out of the list too."""

    def __init__(self, state_dir: Path, session: Session, work: Work, forgotten: bool) -> None:
        self._dir = state_dir
        self._session = session
        self._work = work
        self._forgotten = forgotten
        self._going = asyncio.Lock()
        self.left = False

    def stay(self) -> None:
        """It need not go after all: get work again."""
        unmark_leaving(self._dir)
        self._session.reconnect()

    async def depart(self, reason: str, seconds: float) -> bool:
        """Have all work gone within ``seconds``; whether the host was forgotten too.

        The coordinator is asked first: it stops each node as its job asks for. What is left near the end of the time,
        or when nobody answers, is stopped here.
        """
        async with self._going:
            return self.left or await self._depart(reason, seconds)

    async def _depart(self, reason: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        log.warning("host.departs", reason=reason, seconds=seconds, forgotten=self._forgotten)
        mark_leaving(self._dir, reason)
        own = min(_LONGEST_GRACE, seconds * _LOCAL_PART)
        if not await self._drained(reason, end - own):
            self._work.stop_everything(reason, own / 2)
            await self._work.until_idle(max(0.0, end - time.monotonic()))
        if not self._work.is_idle():
            # It may still run: the coordinator waits for the lease's end, as for a host that vanished.
            log.error("host.not_idle", hint="what runs here does not end; it is placed elsewhere after the lease")
            return False
        await self._work.until_empty(min(_TELL_SECONDS, max(0.5, end - time.monotonic())))
        return self._forgotten and await self._leave(reason)

    async def _drained(self, reason: str, end: float) -> bool:
        while (left := end - time.monotonic()) > 0:
            try:
                await self._session.vacate(0.0, reason)
                break
            except ContactLost as error:
                log.warning("host.drain_not_asked", reason=str(error))
                await asyncio.sleep(min(1.0, left))
        return await self._work.until_empty(max(0.0, end - time.monotonic()))

    async def _leave(self, reason: str) -> bool:
        # From now on the coordinator may end the session because it has forgotten us.
        self.left = True
        try:
            await self._session.leave(reason)
        except ContactLost as error:
            log.warning("host.not_forgotten", reason=str(error), hint="it leaves the list when its lease has ended")
            self.left = False
            return False
        return True
