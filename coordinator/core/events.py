"""What happens to the coordinator: requests of users and agents, and the passing of time. ``decide`` answers each."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.evidence import Evidence
from coordinator.core.hardware import Hardware
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.measured import Answer
from coordinator.core.model import Distance, EndCause, HostFacts, PeerEndpoint, Phase, Reach
from coordinator.core.rollout import Release, Step
from coordinator.core.spec import JobSpec


@dataclass(frozen=True, slots=True)
class CoordinatorStarted:
    """The state was loaded; every known host gets one fresh lease."""


@dataclass(frozen=True, slots=True)
class BackupRestored:
    """The state is that of a backup, taken ``age`` seconds ago; hosts may know more.

    ``short``: ended nodes of whose output fewer bytes are here than they wrote: job, rank and what there is.
    """

    age: float
    short: tuple[tuple[JobId, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """Answered with the Job. The same ``request_id`` gives the same job."""

    spec: JobSpec
    user: str
    request_id: str


@dataclass(frozen=True, slots=True)
class PlanAsked:
    """Where a job would go that wants to be near ``near``, is about to be asked."""

    near: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Answered with the Job. ``signal`` empty: the job's own; ``abort``: kill at once."""

    job: str
    user: str
    signal: str = ""
    abort: bool = False


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """Answered with the Job. ``failed``: only its failed nodes, else all that are not done."""

    job: str
    user: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class HostJoined:
    """A host redeemed a join token. Answered with the Host."""

    name: str
    facts: HostFacts
    machine_id: str


@dataclass(frozen=True, slots=True)
class CordonRequested:
    """Answered with the Host. ``cordoned=False`` resumes it."""

    host: str
    cordoned: bool


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Answered with the Host. Its work goes after so many ``seconds`` (0: now); resuming the host ends the drain."""

    host: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class VacateAsked:
    """A host asks for its own drain within so many ``seconds``, for ``reason``. Answered with the Host."""

    host_id: HostId
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class HostLeft:
    """A host leaves the cluster. Answered with the Host that was forgotten.

    ``idle``: nothing runs there any more, it says; what it held is over. Else it may hold nothing.
    """

    host_id: HostId
    idle: bool
    reason: str


@dataclass(frozen=True, slots=True)
class QuarantineRequested:
    """Answered with the Host. One of its GPUs, by uuid or index, gets no new work until ``user`` releases it."""

    host: str
    gpu: str
    reason: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """Answered with the Host. ``user`` vouches for one of its GPUs (empty: for all of them, its bus and its driver)."""

    host: str
    gpu: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class TestRequested:
    """Answered with the Host. One of its GPUs (empty: all that nothing holds) is to be tested."""

    host: str
    gpu: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class RemovalRequested:
    """Answered with the Host that was forgotten. ``gone``: ``user`` states that the machine will never be back."""

    host: str
    gone: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True)
class UpgradeRequested:
    """Answered with the Rollout. ``hosts`` are ids or names, none for ``everything``.

    Each has ``install_seconds``. ``batch`` hosts at once, or, when it is 0, so many ``percent`` of them; more than
    ``max_failures`` failures end it.
    """

    release: Release
    user: str
    hosts: tuple[str, ...] = ()
    everything: bool = False
    batch: int = 0
    percent: float = 10.0
    max_failures: int = 0
    install_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class UpgradeCancelRequested:
    """Answered with the Rollout, of which no further host is begun."""

    user: str


@dataclass(frozen=True, slots=True)
class UpgradeProgress:
    """How far a host says it is with roll-out ``number``."""

    number: int
    step: Step
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A host's agent called. Answered with the Host, whose epoch is the session's.

    ``drained`` is why it shall get no new work; empty: it may. ``queues``: it can begin one node right behind another.
    ``build``: which installed version it is; empty: it was not installed by the installer.
    ``leaving``: the drain that it asked for holds on.
    """

    host_id: HostId
    facts: HostFacts
    hardware: Hardware
    peer: PeerEndpoint
    agent_version: str
    drained: str = ""
    queues: bool = False
    build: str = ""
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class AllocationStatus:
    """What an agent saw of an allocation. ``exit_code`` is 128 + signal when a signal ended it.

    ``ready``: the node has announced that it is. ``answer``: what it measured last, while it is prepared.
    """

    id: AllocationId
    phase: Phase
    exit_code: int | None = None
    cause: EndCause | None = None
    reason: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    log_bytes: int = 0
    master_port: int = 0
    ready: bool = False
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class HostReported:
    """One report of a session. Repeating it is harmless.

    ``round_trip``: seconds that the host's calls take, in the middle; None: it has not called often enough.
    ``evidence``: what it saw of its GPUs' health, in the order of its numbers.
    """

    host_id: HostId
    epoch: int
    statuses: tuple[AllocationStatus, ...] = ()
    probes: tuple[Reach, ...] = ()
    hardware: Hardware | None = None
    goodbye: bool = False
    distances: tuple[Distance, ...] = ()
    round_trip: float | None = None
    evidence: tuple[Evidence, ...] = ()
    upgrade: UpgradeProgress | None = None


@dataclass(frozen=True, slots=True)
class Ticked:
    """A deadline came."""


Event = (
    CoordinatorStarted
    | BackupRestored
    | JobSubmitted
    | PlanAsked
    | StopRequested
    | RetryRequested
    | HostJoined
    | CordonRequested
    | DrainRequested
    | VacateAsked
    | HostLeft
    | QuarantineRequested
    | ReleaseRequested
    | TestRequested
    | RemovalRequested
    | UpgradeRequested
    | UpgradeCancelRequested
    | SessionOpened
    | HostReported
    | Ticked
)
