"""Watches the lease: says when it ends and when it begins again, and keeps the spawner informed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent.core.lease import Lease, expired, renewed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.spawner.wire import Message

log = structlog.get_logger()

# A busy host's lease is renewed many times a second; the spawner hears of it in steps of so many seconds.
LEASE_STEP = 0.5


class Fence:
    """``lease`` is the present one. ``on_end`` is called when it has ended, and tells when to be called again: what a
    job keeps for longer is stopped later; None: never."""

    def __init__(
        self, send: Callable[[Message], None], now: Callable[[], float], on_end: Callable[[], float | None]
    ) -> None:
        self.lease: Lease | None = None
        self._send = send
        self._now = now
        self._on_end = on_end
        self._told = 0.0
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    def renew(self, sent_at: float, seconds: float, grace: float) -> None:
        """A call sent at ``sent_at`` was answered: work may go on for ``seconds`` from then."""
        self.lease = renewed(self.lease, sent_at, seconds, grace)
        # The spawner enforces it too: it must hold even if this process is gone.
        if self.lease.until - self._told >= min(LEASE_STEP, seconds / 20):
            self._told = self.lease.until
            self._send({"op": "lease", "until": self.lease.until, "grace": grace, "since": self.lease.since})
        if self._timer is None or self._ended:
            self.close()
            self._watch()

    def over(self) -> bool:
        """Whether there is no lease, or it has ended."""
        return self.lease is None or expired(self.lease, self._now())

    def repeat(self) -> None:
        """A new spawner has not heard of it."""
        self._told = 0.0

    def close(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        assert self.lease is not None
        # The timer is not moved at each renewal; when it fires it looks how far the lease has gone meanwhile.
        look_at: float | None = self.lease.until
        over = self.over()
        if over:
            if not self._ended:
                log.error("lease.ended", hint="no report was answered in time: work that is not kept is stopped")
            look_at = self._on_end()
        self._ended = over
        self._timer = None
        if look_at is not None:
            left = max(0.0, look_at - self._now())
            self._timer = asyncio.get_running_loop().call_later(left + 0.01, self._watch)
