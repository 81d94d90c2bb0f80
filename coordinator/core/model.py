"""The records that the coordinator keeps: hosts, jobs, nodes, allocations, gangs. All frozen; changed by replacing.

Clocks: fields ending in ``_at`` are Unix seconds, shown to users and never compared; fields ending in ``_since`` are
seconds of served time (see ``Instant``), compared and never shown; deadlines are kept apart, in monotonic seconds, in
memory only (see ``state``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from coordinator.core.hardware import Hardware
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.measured import PreflightReport
from coordinator.core.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment by three clocks: ``mono`` for timers, ``wall`` (Unix seconds) for people, ``served`` for durations.

    ``served`` is the coordinator's own time, in seconds: it goes on only while the coordinator serves, over restarts,
    and nobody can set it (docs/adr/0007-served-time.md).
    """

    mono: float
    wall: float
    served: float


# ---------------------------------------------------------------- hosts


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host's owner states. ``price_per_hour`` in USD for the whole host; None is unknown.

    ``instance_type`` is the provider's name for this kind of machine, ``fleet`` the owner's for a set of them.
    ``ephemeral``: it leaves the list by itself when it goes, or when its lease has ended.
    """

    backend: str = "local"
    region: str = "local"
    network: str | None = None
    price_per_hour: float | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    spot: bool = False
    instance_type: str = ""
    fleet: str = ""
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class PeerEndpoint:
    """Where peers may reach a host: its interfaces' own addresses, best first, and its agent's peer port."""

    addresses: tuple[str, ...] = ()
    port: int = 0

    def text(self) -> str:
        """The best address as people write it, ``10.0.0.1:7433`` or ``[fd00::1]:7433``; empty without one."""
        if not self.addresses or not self.port:
            return ""
        ip = self.addresses[0]
        return f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"


class HostState(Enum):
    """How long ago the host was heard of."""

    OFFLINE = "offline"
    ONLINE = "online"
    SUSPECT = "suspect"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with an agent. ``hardware`` is None until its agent has called once.

    ``drained`` is why it gets no new work although it is in contact: its agent's protocol. What runs there goes on.
    ``queues``, which is not stored: whether its agent can begin one node right behind another one.
    ``vacate_at``: its work has to go, at the latest then (0: it may stay); a host that is vacated is cordoned too.
    ``build`` is the installed version that its agent is; empty: it was not installed by the installer.
    ``vacates_for``: why it asked for that itself; empty: it did not. The drain ends when it comes back without asking.
    ``fenced``, which is not stored either: why its bus or driver keeps new work away (see ``health_marks``).
    """

    id: HostId
    name: str
    facts: HostFacts
    joined_at: float
    machine_id: str = ""
    hardware: Hardware | None = None
    peer: PeerEndpoint = PeerEndpoint()
    state: HostState = HostState.OFFLINE
    cordoned: bool = False
    epoch: int = 0
    agent_version: str = ""
    last_seen_at: float = 0.0
    drained: str = ""
    vacate_at: float = 0.0
    vacates_for: str = ""
    queues: bool = False
    build: str = ""
    fenced: str = ""


# ---------------------------------------------------------------- jobs


class JobState(Enum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """True for final states."""
        return self in (JobState.DONE, JobState.FAILED, JobState.STOPPED)


class NodeState(Enum):
    """Where a node stands; the last three are final unless the node is tried again."""

    PENDING = "pending"
    PLACED = "placed"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """True for final states."""
        return self in (NodeState.DONE, NodeState.FAILED, NodeState.STOPPED)


class EndCause(Enum):
    """Whose doing an end is; retry rules go by it."""

    EXIT = "exit"
    STOPPED = "stopped"
    MAX_DURATION = "max-duration"
    START_FAILED = "start-failed"
    HOST = "host"
    UNREACHABLE = "unreachable"
    OUT_OF_MEMORY = "out-of-memory"
    RETURNED = "returned"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Job:
    """What a user submitted and how it stands. ``exit_code`` is set once its end is certain.

    ``host_failures`` and ``errors`` count generations lost so; ``failing_since`` is when the first of a row was lost,
    ``waiting_since`` when it was submitted (0: before this was written down). ``avoids`` are the hosts that failed its
    last generation, ``spares_taken`` numbers the spares that it ever held. ``spent`` is what its allocations cost that
    are free again, in USD; ``starts_at`` when its schedule has it start (0: none, or a user ended the series).
    ``retried_from`` is the generation after which a user had it tried again; ``preempted`` counts since then how often
    a node, or the gang, made place for another job. ``preflight`` is what its last group measured before it started.
    """

    id: JobId
    number: int
    name: str
    user: str
    request_id: str
    spec: JobSpec
    submitted_at: float
    state: JobState = JobState.QUEUED
    reason: str = ""
    exit_code: int | None = None
    generation: int = 0
    host_failures: int = 0
    errors: int = 0
    failing_since: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    version: int = 0
    waiting_since: float = 0.0
    avoids: tuple[HostId, ...] = ()
    spares_taken: int = 0
    spent: float = 0.0
    starts_at: float = 0.0
    retried_from: int = 0
    preempted: int = 0
    preflight: PreflightReport | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One member of a job that has been placed at least once (others are ranges of pending ranks).

    With redundancy ``attempt`` is the copy that leads the node (see ``copies``), ``latest_attempt`` the last one that
    was made (0: ``attempt`` is), and ``copies_failed`` counts those that are not replaced any more. ``failed_host_id``
    is where the last attempt failed, ``retried_from`` the attempt after which a user had it tried again, and
    ``preempted`` counts how many since then made place for another job, or had to leave a host that is drained; the
    last of them was on ``left_host_id``.
    """

    job_id: JobId
    rank: int
    state: NodeState
    attempt: int
    host_id: HostId | None = None
    exit_code: int | None = None
    cause: EndCause | None = None
    reason: str = ""
    gpus: tuple[str, ...] = ()
    address: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    log_bytes: int = 0
    host_failures: int = 0
    errors: int = 0
    failing_since: float = 0.0
    latest_attempt: int = 0
    copies_failed: int = 0
    failed_host_id: HostId | None = None
    variant: str = ""
    retried_from: int = 0
    preempted: int = 0
    left_host_id: HostId | None = None

    @property
    def last_attempt(self) -> int:
        """The number of the last attempt that was made; no other of the node has it, or a higher one."""
        return max(self.attempt, self.latest_attempt)


# ---------------------------------------------------------------- allocations and gangs


class Phase(Enum):
    """What a host shall do for an allocation (wanted) or was seen to do (observed)."""

    RESERVED = "reserved"
    PREPARING = "preparing"
    PREPARED = "prepared"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Resources on one host held for one attempt of a node. ``wanted`` is PREPARED, RUNNING or STOPPING.

    Of a ``cluster`` job, a rank beyond its nodes is a spare (see ``spares``), and one that is observed ENDED is kept
    for the next generation (see ``regroup``). ``share`` is the part that it holds of each of its GPUs, ``price`` what
    it costs in USD an hour, ``held_since`` when it was made. ``ready`` is whether the node announced that it is.

    ``behind`` another one, it holds nothing until that one is freed, and then what that one held (see ``backlog``).
    ``preempted_by`` is the id of the job that takes its place, or of its host, which is drained.
    """

    id: AllocationId
    job_id: JobId
    rank: int
    attempt: int
    host_id: HostId
    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]
    wanted: Phase
    observed: Phase = Phase.RESERVED
    started_at: float = 0.0
    address: str = ""
    master_port: int = 0
    stop_reason: str = ""
    stop_grace: float = 0.0
    stop_signal: str = ""
    variant: str = ""
    share: float = 1.0
    price: float = 0.0
    held_since: float = 0.0
    ready: bool = False
    behind: AllocationId | None = None
    preempted_by: str = ""


class GangPhase(Enum):
    """A gang is prepared, then runs, then stops; it never starts in part.

    One that is to be formed again is REFORMING once its last member is gone: what it held is kept for that.
    """

    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    REFORMING = "reforming"


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member of a formed group and the address its peers use for it. ``gpus``: how many it holds."""

    rank: int
    host_id: HostId
    address: str
    slots: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """What the rendezvous yields: master, peers in rank order, generation."""

    generation: int
    master_address: str
    master_port: int
    members: tuple[GroupMember, ...]


@dataclass(frozen=True, slots=True)
class Gang:
    """Allocations started all or none: one generation of a cluster job.

    ``retry`` counts when it is stopping: whether a next generation follows when the last member is gone.
    """

    job_id: JobId
    generation: int
    phase: GangPhase
    network: str = ""
    group: Group | None = None
    reason: str = ""
    exit_code: int | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """One directed probe: whether ``source`` got through to ``target``'s agent at ``address``."""

    source: HostId
    target: HostId
    address: str
    port: int
    reached: bool
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Distance:
    """How long a TCP connection from a host to ``target`` (see ``nearness``) took; None: ``reason`` says why not."""

    host_id: HostId
    target: str
    seconds: float | None
    reason: str = ""
