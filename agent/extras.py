"""Processes beside running nodes, such as MPI's daemons: ordered one by one, each awaited until it has ended."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.model import Desired
    from agent.spawner.wire import Message

Outcome = tuple[int | None, str]


class Extras:
    """Those that are under way. ``send`` gives the spawner an order, ``order`` makes one."""

    def __init__(self, send: Callable[[Message], None], order: Callable[[Desired, str, str], Message]) -> None:
        self._send = send
        self._order = order
        self._keys = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}

    async def run(self, desired: Desired, command: str) -> Outcome:
        """Run a shell command beside a running node, in its environment: exit code, or ``None`` and the reason."""
        key = str(next(self._keys))
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[key] = done
        try:
            self._send(self._order(desired, key, command))
            return await done
        finally:
            del self._waiting[key]

    def ended(self, message: Message) -> None:
        """The spawner says that one has ended."""
        done = self._waiting.get(str(message["key"]))
        if done is not None and not done.done():
            code = message["code"]
            done.set_result((code if isinstance(code, int) else None, str(message["reason"])))

    def lost(self) -> None:
        """A new spawner knows nothing of them."""
        for done in self._waiting.values():
            if not done.done():
                done.set_result((None, "the agent's spawner was restarted"))
