"""What a user asks for, checked and complete: the job specification and its resource ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from coordinator.core.matrix import Matrix

MAX_NODES = 1_000_000
MAX_PRIORITY = 100
MAX_REDUNDANCY = 16
MAX_SPARES = 1000


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
    """The GPUs of one node. ``names`` are compared without case and without the vendor's prefix.

    ``share``, as numerator and denominator, is the part of one GPU that the node gets beside others, which nothing
    isolates from it; None: its GPUs are its own.
    """

    vendor: str | None = None
    names: tuple[str, ...] = ()
    count: Range = Range(1, 1)
    memory_bytes: Range = ANY_NUMBER
    total_memory_bytes: Range = ANY_NUMBER
    min_compute_capability: tuple[int, int] | None = None
    share: tuple[int, int] | None = None


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


class RetryEvent(Enum):
    """What may be tried again: the wait in the queue, a host's or network's failure, the program's own."""

    NO_CAPACITY = "no-capacity"
    INTERRUPTION = "interruption"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``duration`` in seconds since the first failure in a row (in the queue: since submission); None is no limit.

    ``attempts`` of a node, or generations of a group, in all; None is no limit.
    """

    on_events: frozenset[RetryEvent] = frozenset(RetryEvent)
    duration: float | None = None
    attempts: int | None = None


class OnNodeFailure(Enum):
    """What a failed node means to its ``any`` job."""

    GO_ON = "go-on"
    RETRY = "retry"
    FAIL = "fail"
    IGNORE = "ignore"


class Spread(Enum):
    """What a node that is tried again keeps away from: the host, network, … where its last attempt failed."""

    HOST = "host"
    NETWORK = "network"
    REGION = "region"
    BACKEND = "backend"


class DisconnectAction(Enum):
    """What a host does with a node once it is out of contact with its coordinator for too long."""

    STOP = "stop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class OnDisconnect:
    """``after`` in seconds out of contact; None: the lease for ``STOP``, never for ``KEEP``.

    A node that is stopped may be placed elsewhere afterwards; one that is kept never is.
    """

    action: DisconnectAction = DisconnectAction.STOP
    after: float | None = None


class Optimize(Enum):
    """What makes one host better than another for a job."""

    COST = "cost"
    LATENCY = "latency"
    SPREAD = "spread"
    PACK = "pack"


class SpotPolicy(Enum):
    """Whether hosts that may be taken away at any time are wanted."""

    AUTO = "auto"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True)
class HostFilter:
    """Which hosts a job may use; what is empty admits all. ``hosts`` are names, with ``*`` and ``?`` as in a shell.

    ``max_price`` in USD an hour for what one node holds of the host.
    """

    backends: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)
    max_price: float | None = None
    spot: SpotPolicy = SpotPolicy.AUTO


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a node, for one kind of hardware. Empty ``commands`` and ``argv``: the job's own.

    ``speed`` is how much work it does in the time in which a variant of speed 1 does one; None: it is measured.
    """

    name: str
    resources: Resources = Resources()
    env: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)
    commands: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    precision: str = ""
    speed: float | None = None


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes of a ``cluster`` job that are alike. Ranks are given in the order of the groups."""

    name: str
    nodes: int = 1
    resources: Resources = Resources()
    env: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)
    commands: tuple[str, ...] = ()


class StartupOrder(Enum):
    """Which nodes of a group start first; the others follow when those say that they are ready."""

    ANY = "any"
    MASTER_FIRST = "master-first"
    WORKERS_FIRST = "workers-first"


class AfterWhen(Enum):
    """Which end of another job is waited for: a good one, any, or a bad one."""

    OK = "ok"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Dependency:
    """``job`` is an id or a name; the coordinator keeps the id."""

    job: str
    when: AfterWhen = AfterWhen.OK


@dataclass(frozen=True, slots=True)
class UtilizationPolicy:
    """A job is ended when all GPUs of one of its nodes are below ``min_gpu_percent`` for ``window`` seconds."""

    min_gpu_percent: float
    window: float


class PreflightKind(Enum):
    """What is measured of a group before it starts: the network alone, or also GPUs and an all-reduce over torch."""

    NETWORK = "network"
    COLLECTIVES = "collectives"


class OnSlow(Enum):
    """What becomes of a group in which something is slow: the job fails, it starts all the same, or it is formed anew
    without the host."""

    FAIL = "fail"
    WARN = "warn"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class PreflightPolicy:
    """``min_bandwidth`` in bits a second and ``max_latency`` in seconds hold for every pair (None: only what is far
    from the rest is slow); ``seconds`` is how long each pair sends in each direction."""

    kind: PreflightKind = PreflightKind.NETWORK
    min_bandwidth: float | None = None
    max_latency: float | None = None
    seconds: float = 1.0
    on_slow: OnSlow = OnSlow.REPLACE


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Who fetches a job's image. The password is in no text that is made of this."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as submitted. Exactly one of ``commands`` (run by ``shell``) and ``argv`` (executed as it is) is given; or
    neither, with ``image``, whose own program then runs.

    Durations are seconds; ``None`` means no limit (``max_duration``) or the default (``stop_duration``).
    ``name=None`` lets the coordinator make one. ``redundancy`` counts the copies of each ``any`` node that run at once,
    ``spares`` the hosts that a ``cluster`` job holds ready beside its nodes. ``near`` is a host or URL that the nodes'
    hosts should be close to. With ``variants`` or ``groups``, ``resources`` are not used: each has its own. ``matrix``
    gives each ``any`` node its values, and at most ``max_running`` nodes hold hosts at once. ``schedule`` is a cron
    expression in UTC, ``budget`` in USD. ``user`` is whom its nodes run as (a name, a user id, either with ``:`` and a
    group), where their hosts allow it; None: whom each host chooses. ``preflight``: what is measured before a
    ``cluster`` job starts.

    With ``image`` nodes run in containers; ``entrypoint`` then goes before ``commands``, each of which is one argument.
    ``python`` is a version like ``3.12``, of which each node gets an environment of its own.
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
    retry: RetryPolicy | None = None
    on_node_failure: OnNodeFailure = OnNodeFailure.GO_ON
    spread: Spread = Spread.HOST
    priority: int = 0
    redundancy: int = 1
    spares: int = 0
    on_disconnect: OnDisconnect = OnDisconnect()
    where: HostFilter = HostFilter()
    optimize: Optimize = Optimize.COST
    near: str | None = None
    variants: tuple[Variant, ...] = ()
    groups: tuple[NodeGroup, ...] = ()
    startup_order: StartupOrder = StartupOrder.ANY
    matrix: Matrix | None = None
    max_running: int | None = None
    after: tuple[Dependency, ...] = ()
    schedule: str | None = None
    preemptible: bool = False
    budget: float | None = None
    utilization: UtilizationPolicy | None = None
    image: str | None = None
    registry_auth: RegistryAuth | None = None
    entrypoint: str | None = None
    privileged: bool = False
    python: str | None = None
    user: str | None = None
    preflight: PreflightPolicy | None = None

    def brief(self) -> JobSpec:
        """The same without a long matrix, for those who look at many jobs, or at one again and again."""
        return replace(self, matrix=None) if self.matrix is not None and self.matrix.is_long() else self
