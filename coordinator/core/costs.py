"""What a node costs: its host's price, by the part of the host that it holds, for as long as it holds it.

The part is the dominant share, the largest of its parts of the host's CPUs, memory and GPUs: who holds all GPUs of a
host leaves nothing that others would pay for. Prices are USD an hour; a host that states none costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.hardware import Hardware
from coordinator.core.model import Allocation, Host

HOUR = 3600.0


def rate(host: Host, cpus: int, memory_bytes: int, gpus: int, share: float = 1.0) -> float:
    """USD an hour attributed to what holds so much of the host, and of each of its ``gpus`` the part ``share``."""
    price = host.facts.price_per_hour
    if not price or host.hardware is None:
        return 0.0
    return price * dominant(host.hardware, cpus, memory_bytes, gpus * share)


def dominant(hardware: Hardware, cpus: int, memory_bytes: int, gpus: float) -> float:
    """The largest of the parts of the hardware's CPUs, memory and GPUs, from 0 to 1. MIG instances are GPUs."""
    largest = cpus / hardware.cpus if hardware.cpus else 1.0
    if memory_bytes and hardware.memory_bytes:
        largest = max(largest, memory_bytes / hardware.memory_bytes)
    if gpus and hardware.gpus:
        largest = max(largest, gpus / len(hardware.gpus))
    # A host takes what asks for a little more memory than it shows (see fit): that is all of it, never more.
    return min(1.0, largest)


def held_for(allocation: Allocation, served: float) -> float:
    """Seconds that it was held until the moment ``served``; 0 for one of a release that did not write that down."""
    return max(0.0, served - allocation.held_since) if allocation.held_since else 0.0


def cost(allocation: Allocation, served: float) -> float:
    """USD that it cost until the moment ``served``."""
    return allocation.price * held_for(allocation, served) / HOUR


LedgerKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What one user spent on one backend on one ``day`` (UTC, ``2026-11-23``), in USD, with what it went for."""

    day: str
    user: str
    backend: str
    usd: float = 0.0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    attempts: int = 0

    @property
    def key(self) -> LedgerKey:
        """By what there is one entry."""
        return (self.day, self.user, self.backend)


@dataclass(slots=True)
class Meter:
    """What a job's allocations cost together, kept so that no reader has to go through them all.

    ``price`` is their sum in USD an hour, ``since`` that of each price times the moment from which on it is held.
    """

    price: float = 0.0
    since: float = 0.0
    priced: int = 0

    def add(self, allocation: Allocation) -> None:
        """Count an allocation in."""
        if allocation.price and allocation.held_since:
            self.priced += 1
            self.price += allocation.price
            self.since += allocation.price * allocation.held_since

    def take(self, allocation: Allocation) -> None:
        """Count an allocation out that was counted in."""
        if allocation.price and allocation.held_since:
            self.priced -= 1
            self.price -= allocation.price
            self.since -= allocation.price * allocation.held_since
        if not self.priced:
            # What rounding left over would go on costing.
            self.price = self.since = 0.0

    def cost(self, served: float) -> float:
        """USD that what is counted in cost until the moment ``served``."""
        return max(0.0, (self.price * served - self.since) / HOUR)
