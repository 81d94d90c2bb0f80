"""What is to be done once a decision is on disk: telling agents. Answers to callers are the engine's business."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.ids import AllocationId, HostId, JobId


@dataclass(frozen=True, slots=True)
class DesiredChanged:
    """The host is to be told what it shall do for the allocation, or that the allocation is gone."""

    host_id: HostId
    allocation_id: AllocationId


@dataclass(frozen=True, slots=True)
class ProbesWanted:
    """The host is to probe these others."""

    host_id: HostId
    targets: tuple[HostId, ...]


@dataclass(frozen=True, slots=True)
class DistancesWanted:
    """The host is to measure how far these targets are."""

    host_id: HostId
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpgradeWanted:
    """The host is to be told to upgrade itself."""

    host_id: HostId


@dataclass(frozen=True, slots=True)
class TestWanted:
    """The host is to test these GPUs (none: what its driver and bus let it), which nothing holds."""

    host_id: HostId
    gpus: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class SessionSuperseded:
    """Sessions of the host with an older epoch are over; every one, when the host was removed (epoch None)."""

    host_id: HostId
    epoch: int | None


@dataclass(frozen=True, slots=True)
class OutputObsolete:
    """The job was forgotten: its output may go."""

    job_id: JobId


Effect = (
    DesiredChanged | ProbesWanted | DistancesWanted | UpgradeWanted | TestWanted | SessionSuperseded | OutputObsolete
)
