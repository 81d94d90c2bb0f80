"""This host's hardware as it is now, put together from all who look at a part of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.containment import Containment, containment, limits
from agent.hardware import read_hardware

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.model import Observed
    from agent.disks import Disks
    from agent.hardware import HardwareReport, NvmlProbe
    from agent.health.station import Station
    from agent.spawner.wire import Message
    from agent.surroundings import Surroundings
    from agent.users import HostUsers

# What was read so many seconds ago need not be read again.
FRESH_SECONDS = 15.0


class HardwareNow:
    """``report`` is what was last found; None before the first look."""

    def __init__(
        self,
        probe: NvmlProbe,
        disks: Disks,
        health: Station,
        users: HostUsers,
        surroundings: Surroundings,
        cpu_limit: str,
    ) -> None:
        self.report: HardwareReport | None = None
        self._probe = probe
        self._disks = disks
        self._health = health
        self._users = users
        self._surroundings = surroundings
        self._containment = Containment(cpu=cpu_limit)
        self._read_at = 0.0

    @property
    def known(self) -> HardwareReport:
        """The report; it was made before the first session, and no allocation comes but through a session."""
        assert self.report is not None
        return self.report

    @property
    def holds_shm(self) -> bool:
        """Whether nodes can have a /dev/shm of their own."""
        return bool(limits(self._containment.held, "").get("shm", ("", ""))[0])

    async def read(self) -> HardwareReport:
        """Look at everything."""
        await asyncio.to_thread(self._disks.look)
        seen = await read_hardware(self._probe)
        # Only now: what the spawner said while the driver was asked counts.
        seen = self._health.look(self._containment.into(seen))
        seen = replace(seen, disk_problem=self._disks.problem, users=self._users.policy())
        self.report = self._surroundings.into(seen)
        self._read_at = time.monotonic()
        return self.report

    async def fresh(self) -> HardwareReport:
        """The report, unless it is old; then another one."""
        if self.report is None or time.monotonic() - self._read_at > FRESH_SECONDS:
            return await self.read()
        return self.report

    def hear(self, news: Iterable[Message], observed: Iterable[Observed]) -> HardwareReport | None:
        """The report after news of the spawner that change it; None: they change nothing."""
        news, before = list(news), self._containment
        self._containment = containment(before, news, observed)
        # Whom nodes may run as depends on the spawner that runs; to look it up at each start of a node takes too long.
        greeted = any(message["ev"] == "snapshot" for message in news)
        if self.report is None or not (greeted or self._containment != before):
            return None
        users = self._users.policy() if greeted else self.report.users
        self.report = replace(self._containment.into(self.report), users=users)
        return self.report

    def look_around(self) -> HardwareReport | None:
        """The report with what is around by now; None before the first look."""
        if self.report is not None:
            self.report = self._surroundings.into(self.report)
        return self.report
