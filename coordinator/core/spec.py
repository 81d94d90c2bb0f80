"""What a user asks for, checked and complete: the job specification and its resource ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

MAX_NODES = 1_000_000


class Placement(Enum):
    """Where the nodes of a job may run."""

    CLUSTER = "cluster"
    ANY = "any"


class StopCriteria(Enum):
    """When a job with several nodes is done."""

    ALL_DONE = "all-done"
    MASTER_DONE = "master-done"


@dataclass(frozen=True, slots=True)
class Range:
    """A closed range of whole numbers; ``None`` is an open end."""

    min: int | None = None
    max: int | None = None

    def __contains__(self, value: int) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def text(self, unit: str = "") -> str:
        """``4..8``, ``4..``, ``..8`` or ``4``, each number followed by ``unit``."""
        if self.min is not None and self.min == self.max:
            return f"{self.min}{unit}"
        low = "" if self.min is None else f"{self.min}{unit}"
        high = "" if self.max is None else f"{self.max}{unit}"
        return f"{low}..{high}"


ANY_NUMBER = Range()


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The GPUs of one node. ``names`` are compared without case and without the vendor's prefix."""

    vendor: str | None = None
    names: tuple[str, ...] = ()
    count: Range = Range(1, 1)
    memory_bytes: Range = ANY_NUMBER
    total_memory_bytes: Range = ANY_NUMBER
    min_compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one node. A node holds the lower end of each range; the defaults reject no host.

    ``cpus`` in whole CPUs; everything else in bytes. ``gpu=None`` means no GPU.
    """

    cpu_arch: str | None = None
    cpus: Range = Range(1, None)
    memory_bytes: Range = ANY_NUMBER
    disk_bytes: Range = ANY_NUMBER
    shm_bytes: int | None = None
    gpu: GpuRequest | None = None


@dataclass(frozen=True, slots=True)
class FileArchive:
    """A tar archive, kept by its hash, that is unpacked into each node's working directory."""

    sha256: str
    size_bytes: int


_NO_ENV: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as submitted. Exactly one of ``commands`` (run by ``shell``) and ``argv`` (executed as it is) is given.

    Durations are seconds; ``None`` means no limit (``max_duration``) or the default (``stop_duration``).
    ``name=None`` lets the coordinator make one.
    """

    name: str | None = None
    nodes: int = 1
    placement: Placement = Placement.CLUSTER
    commands: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    shell: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)
    working_dir: str | None = None
    resources: Resources = Resources()
    max_duration: float | None = None
    stop_duration: float | None = None
    stop_signal: str | None = None
    stop_criteria: StopCriteria = StopCriteria.ALL_DONE
    files: FileArchive | None = None
