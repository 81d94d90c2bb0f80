"""What is held of a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import fsum

from coordinator.core.ids import AllocationId
from coordinator.core.model import Allocation

# Thirds do not quite add up to one.
_ROUNDING = 1e-9


@dataclass(slots=True)
class Usage:
    """What is held of a host. ``version`` is another after each change of it, and of the host's own record.

    ``gpus`` are all that are held, each by one of its holders; ``shared`` the parts of those that are not held whole.
    """

    cpus: int = 0
    memory_bytes: int = 0
    gpus: dict[str, AllocationId] = field(default_factory=dict)
    allocations: set[AllocationId] = field(default_factory=set)
    version: int = 0
    shared: dict[str, dict[AllocationId, float]] = field(default_factory=dict)

    def hold(self, allocation: Allocation) -> None:
        """Count an allocation in."""
        self.version += 1
        self.cpus += allocation.cpus
        self.memory_bytes += allocation.memory_bytes
        self.allocations.add(allocation.id)
        for gpu in allocation.gpus:
            self.gpus[gpu] = allocation.id
            if allocation.share < 1.0:
                self.shared.setdefault(gpu, {})[allocation.id] = allocation.share

    def free(self, allocation: Allocation) -> None:
        """Count an allocation out."""
        self.version += 1
        self.cpus -= allocation.cpus
        self.memory_bytes -= allocation.memory_bytes
        self.allocations.discard(allocation.id)
        for gpu in allocation.gpus:
            others = self.shared.get(gpu, {})
            others.pop(allocation.id, None)
            if others:
                self.gpus[gpu] = next(iter(others))
            else:
                self.gpus.pop(gpu, None)
                self.shared.pop(gpu, None)

    def without(self, allocation: Allocation) -> Usage:
        """As if that allocation were not held."""
        shared = {gpu: dict(parts) for gpu, parts in self.shared.items()}
        rest = Usage(self.cpus, self.memory_bytes, dict(self.gpus), set(self.allocations), self.version, shared)
        rest.free(allocation)
        return rest

    def shared_of(self, gpu: str) -> float:
        """The part of the GPU that is held, from 0 to 1."""
        parts = self.shared.get(gpu)
        if parts is None:
            return 1.0 if gpu in self.gpus else 0.0
        return fsum(parts.values())

    def shares_free(self, gpu: str, share: float) -> int:
        """How many more parts of this size can be held of the GPU."""
        return int((1.0 - self.shared_of(gpu) + _ROUNDING) / share)

    @property
    def gpu_count(self) -> float:
        """How many GPUs are held, parts counted as such."""
        if not self.shared:
            return len(self.gpus)
        return len(self.gpus) - len(self.shared) + fsum(part for gpu in self.shared.values() for part in gpu.values())
