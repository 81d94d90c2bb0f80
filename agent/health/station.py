"""The daemon's side of GPU health: wires the watch to NVML's events, to the work, to the disk and to tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.health.ledger import Ledger
from agent.health.watch import HealthWatch
from agent.spawner.wire import now as boot_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.hardware import GpuEvent, HardwareReport
    from agent.work import Work

log = structlog.get_logger()

# After an event GPUs are read soon, but not once for each of a flood.
_EVENT_SECONDS = 2.0


class Tester(Protocol):
    """Tests GPUs that nothing holds."""

    async def __call__(self, gpu_uuids: Sequence[str]) -> Mapping[str, str]:
        """What is wrong with each; empty: nothing."""
        ...


class Station:
    """``wake`` is called when there is evidence to report."""

    def __init__(self, state_dir: Path, wake: Callable[[], None], tester: Tester) -> None:
        self._ledger = Ledger(state_dir, boot_clock(), time.time())
        self._to_save, self._news, self._freed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.watch = HealthWatch(self._ledger, wake, self._to_save.set)
        self._tester = tester
        self._testing: set[int] = set()
        # The last test that was ordered of these GPUs; the coordinator does not wait for those before any more.
        self._last: dict[tuple[str, ...], int] = {}
        self._work: Work | None = None

    def look_at(self, work: Work) -> None:
        """Take in who holds which GPU, now and at each event."""
        self._work = work
        if self.watch.see_work(work.desired, work.observed):
            self._freed.set()

    def look(self, report: HardwareReport) -> HardwareReport:
        """The report with the conditions that hold."""
        if self._work is not None:
            self.look_at(self._work)
        return self.watch.look(report)

    def hear(self, event: GpuEvent) -> None:
        """An event of NVML's."""
        if self._work is not None:
            self.look_at(self._work)
        self.watch.hear(event)
        self._news.set()

    async def until_due(self, seconds: float) -> None:
        """Wait until GPUs are to be read again: in so many seconds, or soon after an event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
                await asyncio.sleep(_EVENT_SECONDS)
        self._news.clear()

    async def keep(self) -> None:
        """Save what was seen, off the event loop, because a slow disk must not cost the lease; ends by cancellation."""
        while True:
            await self._to_save.wait()
            self._to_save.clear()
            await asyncio.to_thread(self._ledger.save, self._ledger.content())

    def close(self) -> None:
        """Save what is not saved yet."""
        if self._ledger.changed:
            self._ledger.save(self._ledger.content())

    async def test(self, gpu_uuids: Sequence[str], number: int) -> None:
        """Test these GPUs for the coordinator as soon as nothing holds them; evidence says how each one did."""
        if number in self._testing:
            # The order is repeated in each session until it is answered.
            return
        self._testing.add(number)
        self._last[tuple(gpu_uuids)] = number
        try:
            await self._until_free(gpu_uuids)
            if self._last[tuple(gpu_uuids)] != number:
                return
            log.info("gpu.testing", gpus=list(gpu_uuids), test=number)
            with self.watch.under_test(gpu_uuids):
                failures = await self._tester(gpu_uuids)
            for uuid in gpu_uuids or ("",):
                said = failures.get(uuid, "" if gpu_uuids else "; ".join(filter(None, failures.values())))
                self.watch.tested(uuid, number, said)
        finally:
            self._testing.discard(number)

    async def _until_free(self, gpu_uuids: Sequence[str]) -> None:
        holders = self.watch.holders
        while not holders.certain or any(self.watch.is_held(uuid) for uuid in gpu_uuids or holders.held):
            self._freed.clear()
            await self._freed.wait()
