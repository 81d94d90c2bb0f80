"""How far a long preparation is, told now and then: the coordinator notes each on its disk, and a group waits only for
whom it hears of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

TELL_SECONDS = 5.0


class Progress:
    """Called with what is done; passes on what was said last, with how long all of it has taken, every so many seconds.

    What is done in a moment nobody hears of. ``now`` is a clock in seconds that nobody sets.
    """

    def __init__(self, tell: Callable[[str], None], now: Callable[[], float], seconds: float = TELL_SECONDS) -> None:
        self._tell = tell
        self._now = now
        self._seconds = seconds
        self._began = now()
        self._last = ""
        self._telling: asyncio.Task[None] | None = None

    def __call__(self, what: str) -> None:
        """Something was said."""
        self._last = what

    async def __aenter__(self) -> Self:
        self._telling = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._telling is not None
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)

    async def _go_on(self) -> None:
        pause = min(1.0, self._seconds)
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds
            if self._last:
                self._tell(f"{self._last} ({self._now() - self._began:.0f} s)")
