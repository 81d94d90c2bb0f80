"""Hosts of GPUs in a ``World``, and what their agents see of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from coordinator.core.effects import TestWanted as Order
from coordinator.core.events import HostReported
from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.hardware import Hardware
from coordinator.core.health_records import GpuHealth, Health
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, EndCause, Host, Phase
from tests.fakes.world import World, hardware


def watched(gpus: int, prefix: str, cpus: int = 8) -> Hardware:
    """Hardware whose agent looks after its GPUs."""
    plain = hardware(cpus, gpus, prefix=prefix)
    return replace(plain, gpus=tuple(replace(gpu, watched=True) for gpu in plain.gpus))


@dataclass
class Fleet:
    """Hosts of GPUs, and what their agents say of them."""

    world: World = field(default_factory=World)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def add(self, name: str, gpus: int = 2) -> HostId:
        return self.world.add_host(name, watched(gpus, name)).id

    def host(self, host: HostId) -> Host:
        return self.world.state.hosts[host]

    def sees(self, host: HostId, gpu: str, sign: Sign, code: int = 0, allocation: str = "") -> Evidence:
        seen = Evidence(gpu, sign, code, "as seen", allocation_id=allocation, sequence=next(self.numbers))
        self.says(host, seen)
        return seen

    def says(self, host: HostId, *evidence: Evidence) -> None:
        self.world.post(HostReported(host, self.host(host).epoch, evidence=evidence))

    def holds(self, host: HostId, gpu: str, *conditions: Condition) -> None:
        """These conditions hold now on the GPU, or on the host."""
        known = self.host(host).hardware
        assert known is not None
        cards = tuple(replace(card, conditions=conditions) if card.uuid == gpu else card for card in known.gpus)
        new = replace(known, gpus=cards, conditions=known.conditions if gpu else conditions)
        self.world.post(HostReported(host, self.host(host).epoch, hardware=new))

    def of(self, host: HostId, gpu: str) -> GpuHealth:
        known = self.world.state.health.get(host)
        return GpuHealth(gpu) if known is None else known.of(gpu)

    def state(self, host: HostId, gpu: str) -> Health:
        return self.of(host, gpu).state

    def orders(self) -> list[Order]:
        return [effect for effect in self.world.effects if isinstance(effect, Order)]

    def run(self) -> None:
        """Have everything run that is wanted to."""
        for _ in range(2):
            for held in self.world.held():
                if held.wanted is not Phase.STOPPING:
                    self.world.obey(held)

    def gone(self) -> None:
        """Have everything be gone that was told to stop."""
        for held in self.world.held():
            if held.wanted is Phase.STOPPING and held.observed is not Phase.ENDED:
                self.world.end(held.id, 143, EndCause.STOPPED)

    def runs_on(self, gpu: str) -> list[Allocation]:
        return [held for held in self.world.held() if gpu in held.gpus]
