"""What nodes run in, where that is more than the host: containers, environments of Python."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.containers.create import Card
from agent.containers.host import ContainerHost, Policy
from agent.pythons import Pythons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.config import Settings
    from agent.core.model import AllocationId, Desired
    from agent.hardware import HardwareReport
    from agent.places import Places
    from agent.users import Account

# While nothing runs containers here, and while something does. Either is asked at the price of a short process.
LOOK_SECONDS = 60.0
LOOK_SELDOM_SECONDS = 600.0


class Surroundings:
    """``containers`` and ``pythons`` of this host; ``hardware`` is what is known of it now, ``task`` whom plain
    nodes run as."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        own: Mapping[str, str],
        hardware: Callable[[], HardwareReport | None],
        task: Account,
    ) -> None:
        policy = Policy(settings.containers, settings.allow_privileged, settings.image_keep)
        self._hardware = hardware
        self.containers = ContainerHost(places, policy, own, self._cards, task)
        self.pythons = Pythons(places, own)
        self._looked = False

    def _cards(self) -> dict[str, Card]:
        found = self._hardware()
        return {gpu.uuid: Card(gpu.index, gpu.parent is not None) for gpu in found.gpus} if found is not None else {}

    def into(self, report: HardwareReport) -> HardwareReport:
        """The report, with what is here."""
        return replace(report, containers=self.containers.runtime, uv=self.pythons.uv, looking=not self._looked)

    async def prepare(self, desired: Desired, owner: Account | None, tell: Callable[[str], None]) -> None:
        """Make what the node runs in, for ``owner``; ``tell`` hears how far that is. Raises NotReady, OSError."""
        if desired.spec.image:
            await self.containers.prepare(desired, tell)
        elif desired.spec.python:
            await self.pythons.prepare(desired, owner, tell)

    def drop(self, key: AllocationId) -> None:
        """A node is over."""
        self.containers.drop(key)

    async def watch(self, changed: Callable[[], None], lives: Callable[[AllocationId], bool]) -> None:
        """See now and then what is here, and sweep away what earlier nodes left; ``changed`` is told of news."""
        while True:
            news = await asyncio.gather(self.containers.look(), self.pythons.look())
            first, self._looked = not self._looked, True
            if first or any(news):
                changed()
            await self.containers.sweep(lives)
            await asyncio.sleep(LOOK_SELDOM_SECONDS if self.containers.runtime.path else LOOK_SECONDS)
