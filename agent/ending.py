"""What ends an agent from outside: TERM and INT for good, HUP to be started again, and a second one hurries it up."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from agent.restarting import is_restarting

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path


class Ending:
    """Hears signals from ``listen`` on; needs a running event loop."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._hangup = False
        self.told = asyncio.Event()
        self.hurried = asyncio.Event()

    def listen(self) -> None:
        """Take the signals over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._hear, number)

    @property
    def for_good(self) -> bool:
        """Whether nobody is about to start it again."""
        return not self._hangup and not is_restarting(self._dir)

    def _hear(self, number: signal.Signals) -> None:
        if self.told.is_set():
            self.hurried.set()
        else:
            self._hangup = number is signal.SIGHUP
            self.told.set()


async def first_of(wanted: Coroutine[None, None, object], parts: Sequence[asyncio.Task[None]]) -> None:
    """Wait for ``wanted``, or fail as one of ``parts`` fails."""
    task = asyncio.ensure_future(wanted)
    try:
        done, _ = await asyncio.wait([task, *parts], return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
    finally:
        task.cancel()


async def either(*wanted: Coroutine[None, None, object]) -> None:
    """Wait for the first of ``wanted``, or fail as it fails."""
    tasks = [asyncio.ensure_future(each) for each in wanted]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
