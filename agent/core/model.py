"""What the coordinator wants of this host (*desired*) and what this host has seen (*observed*).

Durations are seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType

AllocationId = NewType("AllocationId", str)


class Wanted(enum.IntEnum):
    """What an allocation shall be; the numbers are those of the protocol's ``DesiredPhase``."""

    PREPARED = 1
    RUNNING = 2
    STOPPED = 3


class Phase(enum.IntEnum):
    """What an allocation is; the numbers are those of the protocol's ``ObservedPhase``.

    ``STARTING`` is the agent's own: the spawner has the order but has not yet answered.
    """

    PREPARING = 1
    PREPARED = 2
    RUNNING = 3
    STOPPING = 4
    ENDED = 5
    STARTING = 6


class Cause(enum.IntEnum):
    """Whose fault an end is; the numbers are those of the protocol's ``EndCause``."""

    NONE = 0
    EXIT = 1
    STOPPED = 2
    MAX_DURATION = 3
    START_FAILED = 4
    HOST = 5
    UNREACHABLE = 6
    OUT_OF_MEMORY = 7
    RETURNED = 20


@dataclass(frozen=True, slots=True)
class Spec:
    """What a user submitted, as far as a host needs it. ``argv`` goes before ``commands``.

    ``given`` are variables of ours that hold for this node alone; ``env``, the user's own, wins over them.
    ``announces``: others of its group wait until it says that it is ready. ``after``: seconds out of contact after
    which the host stops it, if the lease is not longer; None: never. With ``image`` it runs in a container; with
    ``python`` it gets an environment of that version. ``user``: whom it
    runs as; empty: the host, or the image, says. ``shm_bytes`` of a /dev/shm of its own; 0: the host's.
    """

    nodes: int = 1
    cluster: bool = False
    commands: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    shell: str = ""
    env: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    max_duration: float | None = None
    stop_duration: float | None = None
    stop_signal: str = ""
    archive: str = ""
    memory_limit: int | None = None
    announces: bool = False
    after: float | None = 0.0
    image: str = ""
    registry_user: str = ""
    registry_password: str = field(default="", repr=False)
    entrypoint: str = ""
    privileged: bool = False
    python: str = ""
    user: str = ""
    shm_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """Another host of a gang, and where its agent may be reached."""

    host_id: str
    host_name: str
    rank: int
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One node of a group, on the address that its peers use."""

    rank: int
    host_id: str
    host_name: str
    address: str
    peer_port: int
    slots: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The outcome of a rendezvous; members stand in rank order."""

    generation: int
    master_address: str
    master_port: int
    members: tuple[GroupMember, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a prepared member is to measure before its group starts, for ``seconds`` in each direction.

    With ``peer``, which it ``calls`` or waits for at its own ``address``; without one with all of ``group``.
    """

    number: int
    seconds: float
    address: str = ""
    peer: GroupMember | None = None
    calls: bool = False
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class PairSpeed:
    """The least round trip in seconds, and bits a second to the other host and from it."""

    latency: float
    sent: float
    received: float


@dataclass(frozen=True, slots=True)
class DeviceSpeed:
    """Floating-point operations a second of one GPU, or of the CPU (no uuid)."""

    gpu: str
    name: str
    flops: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcome of measurement ``number``; ``problem`` says why it is not whole. ``all_reduce`` in bits a second of
    the bus. ``unable``: this host can't measure that, which says nothing against it."""

    number: int
    problem: str = ""
    pair: PairSpeed | None = None
    devices: tuple[DeviceSpeed, ...] = ()
    all_reduce: float | None = None
    unable: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """What this host shall do for one node's attempt. ``started``: the coordinator has seen it run.

    ``behind`` another allocation it begins when that one has ended well, within so many seconds.
    """

    id: AllocationId
    job_id: str
    job_name: str
    rank: int
    attempt: int
    phase: Wanted
    spec: Spec
    started: bool = False
    gpu_uuids: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    group: Group | None = None
    stop_reason: str = ""
    stop_grace: float = 0.0
    stop_signal: str = ""
    behind: AllocationId | None = None
    behind_seconds: float = 0.0
    cpus: int = 0
    measures: Measurement | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One try to reach a host on an address; ``reason`` says why it failed."""

    host_id: str
    address: str
    port: int
    reached: bool
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Distance:
    """How many seconds a TCP connection to ``target`` took; None: none was made, and ``reason`` says why."""

    target: str
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What has become of an allocation on this host. Its times are of the clock that nobody sets, 0 for "not yet".

    ``acknowledged``: the coordinator has this very state. ``log_done``: it has all output, or wants none.
    ``stop_grace`` is that of the stop under way; ``after`` is the spec's, known of a process even before the
    coordinator has said anew what it wants. ``ready``: it has announced that it is. ``rebooted``: the machine has died
    since it was started.
    """

    id: AllocationId
    phase: Phase
    exit_code: int | None = None
    cause: Cause = Cause.NONE
    reason: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    log_bytes: int = 0
    master_port: int = 0
    probes: tuple[Probe, ...] = ()
    stop_grace: float = 0.0
    after: float | None = 0.0
    ready: bool = False
    rebooted: bool = False
    measured: Measured | None = None
    acknowledged: bool = False
    log_done: bool = False


@dataclass(frozen=True, slots=True)
class DesiredUpdate:
    """What came down the session: the whole truth (``complete``) or a change to it."""

    complete: bool
    allocations: tuple[Desired, ...] = ()
    removed: tuple[AllocationId, ...] = ()
