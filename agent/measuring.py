"""What prepared members of groups are told to measure: one thing at a time for each, and nothing that is not wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent.core.model import Measured

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.core.model import AllocationId, Desired

log = structlog.get_logger()


class Measuring:
    """Those that are under way. ``found`` is called with the outcome of each that was not given up."""

    def __init__(
        self, measure: Callable[[Desired], Awaitable[Measured]], found: Callable[[AllocationId, Measured], None]
    ) -> None:
        self._measure = measure
        self._found = found
        self._running: dict[AllocationId, tuple[int, asyncio.Task[None]]] = {}

    def follow(self, key: AllocationId, desired: Desired | None) -> None:
        """Make the measurement that ``desired`` asks for; without any, give up what is under way. Repeats are
        harmless."""
        order = desired.measures if desired is not None else None
        number, task = self._running.get(key, (0, None))
        if task is not None and (order is None or order.number != number):
            task.cancel()
            del self._running[key]
        if desired is not None and order is not None and key not in self._running:
            self._running[key] = (order.number, asyncio.create_task(self._make(desired, order.number)))

    async def _make(self, desired: Desired, number: int) -> None:
        try:
            outcome = await self._measure(desired)
        except Exception as error:
            # A fault of ours: said, for a group whose member says nothing waits for nothing.
            log.exception("preflight.failed", allocation=desired.id)
            outcome = Measured(number, f"it could not be measured: {type(error).__name__}: {error}")
        self._running.pop(desired.id, None)
        self._found(desired.id, outcome)

    async def close(self) -> None:
        """Give up all."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
