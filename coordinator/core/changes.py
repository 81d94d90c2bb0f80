"""Facts that a decision yields, in the past tense. Each carries the whole new record, so that applying and storing
one is the same few lines for all: the store writes the record, the state replaces it.

``DURABLE`` changes are committed before anything is told to anyone; ``VOLATILE`` ones live in memory only and are
rebuilt when agents call again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from coordinator.core.costs import LedgerEntry
from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.measuring import Measuring
from coordinator.core.model import Allocation, Distance, Gang, Host, Job, Node, Reach
from coordinator.core.rollout import HostUpgrade, Rollout


@dataclass(frozen=True, slots=True)
class JobCreated:
    """A job was accepted."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobUpdated:
    """A job's state, reason or counters changed; its spec never does."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobForgotten:
    """An ended job was dropped, with its nodes, to bound what is kept."""

    id: JobId


@dataclass(frozen=True, slots=True)
class NodeUpdated:
    """A node was placed for the first time, or changed."""

    node: Node


@dataclass(frozen=True, slots=True)
class AllocationReserved:
    """Resources on a host are held for one attempt of a node."""

    allocation: Allocation


@dataclass(frozen=True, slots=True)
class AllocationUpdated:
    """What is wanted of an allocation, or what was seen of it, changed."""

    allocation: Allocation


@dataclass(frozen=True, slots=True)
class AllocationFreed:
    """The attempt is over and its resources are free."""

    id: AllocationId


@dataclass(frozen=True, slots=True)
class GangUpdated:
    """A gang was made, or moved to its next phase."""

    gang: Gang


@dataclass(frozen=True, slots=True)
class GangDissolved:
    """The last member of a gang is gone."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class HostUpdated:
    """A host joined, called, or was cordoned."""

    host: Host


@dataclass(frozen=True, slots=True)
class HostRemoved:
    """A host was forgotten."""

    id: HostId


@dataclass(frozen=True, slots=True)
class RolloutUpdated:
    """An upgrade of hosts began or changed."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class HostUpgradeUpdated:
    """A host's part in an upgrade changed."""

    upgrade: HostUpgrade


@dataclass(frozen=True, slots=True)
class HealthUpdated:
    """Something was seen of a host's GPUs, or one of them came into another state; this is all that is kept."""

    health: HostHealth


@dataclass(frozen=True, slots=True)
class HostEventNoted:
    """Something happened to a host that its owner may want to look up; of old ones only so many are kept."""

    event: HostEvent


@dataclass(frozen=True, slots=True)
class TimeServed:
    """So many seconds of served time (see ``Instant``) have passed; the next start goes on from there."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NumbersSkipped:
    """No job, host or attempt is given a number up to these any more; others may have been given them once."""

    jobs: int
    hosts: int
    attempts: int


@dataclass(frozen=True, slots=True)
class CostBooked:
    """An entry of the ledger grew; this is all of it."""

    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class HostSeen:
    """Volatile: a host's state or live readings changed; the durable part of its record did not."""

    host: Host


@dataclass(frozen=True, slots=True)
class HostSilent:
    """Volatile: the host was last heard of at ``since`` (monotonic seconds); None: it is in contact again."""

    host_id: HostId
    since: float | None


@dataclass(frozen=True, slots=True)
class ReachSeen:
    """Volatile: a probe's outcome."""

    reach: Reach


@dataclass(frozen=True, slots=True)
class DistancesAsked:
    """Volatile: these hosts are to measure how far a target is."""

    target: str
    hosts: tuple[HostId, ...]


@dataclass(frozen=True, slots=True)
class DistanceSeen:
    """Volatile: a host has measured."""

    distance: Distance


@dataclass(frozen=True, slots=True)
class DistancesLate:
    """Volatile: nobody waits any longer for those who have not answered."""

    target: str


@dataclass(frozen=True, slots=True)
class DistancesDropped:
    """Volatile: what was measured of a target is too old."""

    target: str


@dataclass(frozen=True, slots=True)
class RoundTripSeen:
    """Volatile: what the host's calls take, in seconds."""

    host_id: HostId
    seconds: float


@dataclass(frozen=True, slots=True)
class DeadlineSet:
    """Volatile: wake up at ``at`` (monotonic seconds) for ``key``; None clears it."""

    key: str
    at: float | None


@dataclass(frozen=True, slots=True)
class TryDelayed:
    """Volatile: the node (rank None: the gang) rests until so many monotonic seconds; None: it may be tried again."""

    job_id: JobId
    rank: int | None
    until: float | None


class Withheld(Enum):
    """What keeps a job from being placed: its schedule, or other jobs that have not ended."""

    TIME = "time"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class JobWithheld:
    """Volatile: the job is not to be placed yet; None: it may be."""

    job_id: JobId
    by: Withheld | None


@dataclass(frozen=True, slots=True)
class Idle:
    """All GPUs of an allocation were below a limit at each reading from ``since`` to ``until`` (monotonic seconds), the
    busiest one at ``peak`` percent."""

    since: float
    until: float
    peak: float


@dataclass(frozen=True, slots=True)
class GpusIdle:
    """Volatile: the allocation's GPUs are idle by its job's policy; None: they are not, or that is not known."""

    allocation_id: AllocationId
    idle: Idle | None


@dataclass(frozen=True, slots=True)
class MeasuringUpdated:
    """Volatile: a prepared group measures. It is over when its gang moves on, or is no more."""

    measuring: Measuring


Durable = (
    JobCreated
    | JobUpdated
    | JobForgotten
    | NodeUpdated
    | AllocationReserved
    | AllocationUpdated
    | AllocationFreed
    | GangUpdated
    | GangDissolved
    | HostUpdated
    | HostRemoved
    | RolloutUpdated
    | HostUpgradeUpdated
    | HealthUpdated
    | HostEventNoted
    | TimeServed
    | NumbersSkipped
    | CostBooked
)
Volatile = (
    HostSeen
    | HostSilent
    | ReachSeen
    | DistancesAsked
    | DistanceSeen
    | DistancesLate
    | DistancesDropped
    | RoundTripSeen
    | DeadlineSet
    | TryDelayed
    | JobWithheld
    | GpusIdle
    | MeasuringUpdated
)
Change = Durable | Volatile
VOLATILE = (
    HostSeen,
    HostSilent,
    ReachSeen,
    DistancesAsked,
    DistanceSeen,
    DistancesLate,
    DistancesDropped,
    RoundTripSeen,
    DeadlineSet,
    TryDelayed,
    JobWithheld,
    GpusIdle,
    MeasuringUpdated,
)
