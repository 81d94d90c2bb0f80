"""What a host's hardware looks like. ``None`` always means unknown or not supported, never zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.containers.model import Runtime
    from agent.users import UserPolicy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.health.model import Evidence


@dataclass(frozen=True, slots=True)
class Problem:
    """Something is wrong: a stable code, what it is in one line, and how to mend it."""

    code: str
    summary: str
    way_out: str


@dataclass(frozen=True, slots=True)
class Disk:
    """One local, writable file system; sizes in bytes, ``free_bytes`` as an ordinary user may use them."""

    mount: str
    device: str
    fs_type: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an interface and the length of its network prefix."""

    ip: str
    prefix_len: int | None


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface. IPv6 link-local addresses are left out: no peer can use them."""

    name: str
    addresses: tuple[Address, ...]
    speed_mbps: int | None
    up: bool
    loopback: bool


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port of an InfiniBand or RoCE device, in the kernel's words: ``state`` is ``ACTIVE`` when it carries traffic,
    ``link_layer`` is ``InfiniBand`` or ``Ethernet`` (RoCE)."""

    device: str
    port: int
    state: str
    link_layer: str
    rate_gbps: float | None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses a GPU, by its number on the machine; ``memory_bytes`` is the GPU's memory that it holds."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Vitals:
    """What NVML tells of a GPU's health; what this GPU or driver does not tell is ``None`` and not watched.

    ``ecc_*`` count uncorrectable errors, since the driver was loaded and over the card's life; ``retired_pages`` those
    for double-bit errors, on cards that cannot remap rows. ``slowdown`` is NVML's mask of reasons for lower clocks,
    ``recovery_action`` its number for what the driver asks for (0: nothing). ``links``: which NVLinks are up, by
    number, and ``link_errors`` their replays and recoveries so far. ``events``: XIDs are listened to.
    """

    ecc_volatile: int | None = None
    ecc_aggregate: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    retired_pages: int | None = None
    retirement_pending: bool | None = None
    slowdown: int | None = None
    recovery_action: int | None = None
    pcie_width: int | None = None
    pcie_max_width: int | None = None
    pcie_generation: int | None = None
    pcie_max_generation: int | None = None
    links: tuple[bool, ...] | None = None
    link_errors: tuple[int, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    events: bool = False


@dataclass(frozen=True, slots=True)
class GpuEvent:
    """Something that NVML said by itself: ``type`` by NVML's numbers, ``data`` the XID of an XID event.

    ``gpu_instance`` is the MIG instance that it is about, ``None`` for the whole GPU.
    """

    index: int
    type: int
    data: int
    gpu_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: who it is, and what it was doing when it was last read.

    A MIG instance is one, too, with the uuid of the GPU that it is a part of as its ``parent``; a GPU that is divided
    so is not listed itself. ``nvlinks`` are its links to other GPUs or to a switch that are up.

    A GPU that no longer answers keeps its last known identity, loses its live values and has a ``problem``;
    it must not be given work. One that has never told its uuid is called ``unknown-INDEX``.

    ``conditions`` are the signs of bad health that hold now, ``health_watched`` is whether the essential ones could
    be seen at all: without it, nothing seen means nothing. Both are `agent.health`'s to say.
    """

    uuid: str
    index: int
    name: str | None = None
    memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    pci_bus: str | None = None
    power_limit_watts: float | None = None
    utilization_percent: int | None = None
    memory_used_bytes: int | None = None
    temperature_c: int | None = None
    power_watts: float | None = None
    problem: Problem | None = None
    parent: str | None = None
    nvlinks: int | None = None
    gpu_instance: int | None = None
    vitals: Vitals | None = None
    conditions: tuple[Evidence, ...] = ()
    health_watched: bool = False


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One answer of the NVML probe; ``problem`` is about the driver as a whole, each GPU carries its own."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: str | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class SystemReading:
    """The host without its GPUs. ``cpu_count`` is what this process may use, rounded down, at least 1."""

    hostname: str
    arch: str
    os: str
    kernel: str
    boot_id: str | None
    machine_id: str | None
    cpu_model: str | None
    cpu_count: int
    memory_bytes: int | None
    memory_available_bytes: int | None
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...]
    rdma: tuple[RdmaPort, ...]


@dataclass(frozen=True, slots=True)
class HardwareReport(SystemReading):
    """Everything an agent tells about its host. ``gpu_problem`` is about the driver as a whole.

    ``isolation`` says what ends nodes' processes and limits their memory here, ``warnings`` what its owner should know.
    ``disk_problem`` is why its disk takes no new work; empty: it does. ``conditions`` are signs of bad health that
    hold now and are of no single GPU: of the driver, or that GPUs are missing.
    ``disk_problem`` is why its disk takes no new work; empty: it does. ``containers`` is what runs containers here,
    ``uv`` the version of what makes environments of Python; while it is ``looking`` for the two they are not known.
    """

    gpus: tuple[Gpu, ...]
    driver_version: str | None
    cuda_version: str | None
    gpu_problem: Problem | None
    isolation: str = ""
    warnings: tuple[str, ...] = ()
    disk_problem: str = ""
    users: UserPolicy | None = None
    limits: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    conditions: tuple[Evidence, ...] = ()
    containers: Runtime | None = None
    uv: str = ""
    looking: bool = False
