"""What is held of a host."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.core.ids import AllocationId
from coordinator.core.model import Allocation


@dataclass(slots=True)
class Usage:
    """What is held of a host. ``version`` is another after each change of it, and of the host's own record."""

    cpus: int = 0
    memory_bytes: int = 0
    gpus: dict[str, AllocationId] = field(default_factory=dict)
    allocations: set[AllocationId] = field(default_factory=set)
    version: int = 0

    def hold(self, allocation: Allocation) -> None:
        """Count an allocation in."""
        self.version += 1
        self.cpus += allocation.cpus
        self.memory_bytes += allocation.memory_bytes
        self.allocations.add(allocation.id)
        for gpu in allocation.gpus:
            self.gpus[gpu] = allocation.id

    def free(self, allocation: Allocation) -> None:
        """Count an allocation out."""
        self.version += 1
        self.cpus -= allocation.cpus
        self.memory_bytes -= allocation.memory_bytes
        self.allocations.discard(allocation.id)
        for gpu in allocation.gpus:
            self.gpus.pop(gpu, None)
