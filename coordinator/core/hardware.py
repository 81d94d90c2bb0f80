"""What an agent sees of its host: its hardware, and what nodes get of it there."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.evidence import Condition


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance of ``parent`` (its uuid); None is unknown, never 0.

    ``problem`` is why it can't be used; ``nvlinks`` are its links to other GPUs or to a switch that are up.
    ``conditions`` is what is wrong with it now; ``watched`` whether the agent would notice;
    ``fenced``, which only the coordinator says, is why it gets no new work (see ``health_marks``).
    """

    uuid: str
    index: int
    name: str
    vendor: str = "nvidia"
    memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    pci_bus: str | None = None
    power_limit_watts: float | None = None
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    problem: str | None = None
    parent: str | None = None
    nvlinks: int | None = None
    conditions: tuple[Condition, ...] = ()
    watched: bool = False
    fenced: str = ""

    @property
    def device(self) -> str:
        """The uuid of the card, of which this may be a part."""
        return self.parent or self.uuid


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system that nodes write to; sizes in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; addresses as ``ip/prefix``."""

    name: str
    addresses: tuple[str, ...] = ()
    speed_mbps: int | None = None
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port of an InfiniBand or RoCE device, in the kernel's words; NCCL names it ``device:port``.

    ``state`` is ``ACTIVE`` when it can carry traffic, ``link_layer`` is ``InfiniBand`` or ``Ethernet`` (RoCE).
    """

    device: str
    port: int
    state: str
    link_layer: str
    rate_gbps: float | None = None

    @property
    def active(self) -> bool:
        """Whether it can carry traffic."""
        return self.state == "ACTIVE"


@dataclass(frozen=True, slots=True)
class Containers:
    """What runs containers on a host: ``runtime`` is ``podman`` or ``docker``; empty: nothing does, for ``problem``.

    ``gpus`` is how containers get GPUs (``cdi``, ``nvidia``); empty: they get none, for ``gpu_problem``. ``privileged``
    is whether the owner allows such containers, ``limits`` which of ``cpu``, ``memory`` and ``pids`` are held. Others
    than privileged ones run as the host's user ``only_user``; empty: as the job or the image says.
    """

    runtime: str = ""
    version: str = ""
    rootless: bool = False
    gpus: str = ""
    privileged: bool = False
    limits: tuple[str, ...] = ()
    problem: str = ""
    gpu_problem: str = ""
    only_user: str = ""


@dataclass(frozen=True, slots=True)
class NodeLimit:
    """One limit of a node: what holds it (``by``), or why nothing does (``unheld``)."""

    by: str = ""
    unheld: str = ""


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """What holds each node of a host to what it may use."""

    cpu: NodeLimit = NodeLimit()
    memory: NodeLimit = NodeLimit()
    pids: NodeLimit = NodeLimit()
    shm: NodeLimit = NodeLimit()


ANY_USER = "*"
"""Among the users that a host allows: all accounts but root."""


@dataclass(frozen=True, slots=True)
class UserPolicy:
    """Whom nodes run as on a host (``default``), and whom else they may ask for; ``reason`` is why nobody else, where
    that is not just its owner's wish."""

    default: str = ""
    allowed: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the agent saw on its host. ``disk_problem`` is why its disk takes no new work, ``uv`` the version of what
    makes Python environments there; empty: nothing does. An agent that has just started is ``looking`` for what nodes
    run in: what it says of ``containers`` and ``uv`` comes in a moment.

    ``conditions`` is what is wrong now with its bus or driver, or with the number of its GPUs. ``limits`` and ``users``
    are None of an agent of before, which does not say.
    """

    hostname: str = ""
    arch: str = ""
    os: str = ""
    kernel: str = ""
    boot_id: str = ""
    machine_id: str = ""
    cpu_model: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    memory_available_bytes: int | None = None
    disks: tuple[Disk, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: str | None = None
    gpu_problem: str | None = None
    isolation: str = ""
    warnings: tuple[str, ...] = ()
    disk_problem: str | None = None
    rdma: tuple[RdmaPort, ...] = ()
    conditions: tuple[Condition, ...] = ()
    containers: Containers = Containers()
    uv: str = ""
    looking: bool = False
    limits: NodeLimits | None = None
    users: UserPolicy | None = None
