"""Everything the coordinator knows, in memory: the records, and the indexes over them.

What each change does to them stands in ``coordinator.core.apply``. The indexes are derived; ``check_invariants`` builds
them anew and compares, and states what must never happen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from coordinator.core import max_running
from coordinator.core.apply import HANDLERS, UNSEEN
from coordinator.core.book import Book
from coordinator.core.chains import Chains
from coordinator.core.changes import Change, Idle, Withheld
from coordinator.core.costs import LedgerEntry, LedgerKey, Meter
from coordinator.core.distances import DistanceMap
from coordinator.core.fairness import Shares
from coordinator.core.health_records import KEPT_EVENTS, HostEvent, HostHealth
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.links import Link
from coordinator.core.measuring import Measuring
from coordinator.core.model import Allocation, Gang, GangPhase, Host, Instant, Job, JobState, Node, NodeState
from coordinator.core.pace import UNKNOWN, Means
from coordinator.core.planning import Planning
from coordinator.core.queue import Queue
from coordinator.core.ranks import RankSet
from coordinator.core.reachability import ReachMap
from coordinator.core.rollout import Rollouts
from coordinator.core.spec import Placement
from coordinator.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Timing:
    """The coordinator's time limits, in seconds. See docs/operations.md."""

    heartbeat: float = 5.0
    suspect: float = 15.0
    lease: float = 30.0
    lease_grace: float = 5.0
    # Killing takes a moment, and two clocks never run quite alike.
    lease_margin: float = 1.0
    prepare: float = 120.0
    probe_interval: float = 120.0

    @property
    def lost(self) -> float:
        """After so much silence of a host nothing runs there any more, and its nodes may be placed anew."""
        return self.lease + self.lease_grace + self.lease_margin


class State:
    """The coordinator's memory. Only ``apply`` changes it."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.hosts: dict[HostId, Host] = {}
        self.jobs: dict[JobId, Job] = {}
        self.nodes: dict[JobId, dict[int, Node]] = {}
        self.pending: dict[JobId, RankSet] = {}
        self.allocations: dict[AllocationId, Allocation] = {}
        self.gangs: dict[JobId, Gang] = {}
        self.ledger: dict[LedgerKey, LedgerEntry] = {}
        self.rollouts = Rollouts()
        # What was seen of GPUs, of hosts of which anything was.
        self.health: dict[HostId, HostHealth] = {}
        # What happened to hosts, the oldest first.
        self.events: deque[HostEvent] = deque(maxlen=KEPT_EVENTS)
        self.last_event = 0
        # Derived.
        # Hosts of which a GPU, or all, is being vacated.
        self.vacating: set[HostId] = set()
        self.meters: dict[JobId, Meter] = {}
        # What all jobs cost together.
        self.bill = Meter()
        # Jobs with a budget of which something was reserved or freed: see budgets.settle.
        self.metered: dict[JobId, None] = {}
        self.usage: dict[HostId, Usage] = {}
        self.job_allocations: dict[JobId, set[AllocationId]] = {}
        self.counts: dict[JobId, dict[NodeState, int]] = {}
        self.requests: dict[str, JobId] = {}
        self.names: dict[str, JobId] = {}
        self.unfinished: dict[JobId, None] = {}
        # By the job that is waited for: the unfinished ones that name it.
        self.dependents: dict[JobId, set[JobId]] = {}
        # Unfinished jobs that ask for spares.
        self.spared: dict[JobId, None] = {}
        # Pending ranks that do not rest.
        self.ready: dict[JobId, RankSet] = {}
        self.queue = Queue()
        # Of jobs that have not ended: what their own nodes took.
        self.paces: dict[JobId, Means] = {}
        self.shares = Shares()
        # Of jobs with redundancy: what each node holds, and the ranks of nodes that run with too few copies.
        self.copies: dict[tuple[JobId, int], set[AllocationId]] = {}
        self.short: dict[JobId, RankSet] = {}
        self.chains = Chains()
        # Jobs that have not ended, by what they want to be near to.
        self.near: dict[str, set[JobId]] = {}
        self.last_job_number = 0
        self.last_host_number = 0
        # The coordinator's own time when it was last written down: see model.Instant.
        self.served = 0.0
        # Attempts are numbered from the next on: see restored.py.
        self.attempt_floor = 0
        # Volatile. The moment of the turn that is decided, or at which it is looked at.
        self.at = Instant(0.0, 0.0, 0.0)
        self.reach = ReachMap()
        self.distances = DistanceMap()
        self.links: dict[HostId, Link] = {}
        self.deadlines: dict[str, float] = {}
        # Hosts out of contact, and when (monotonic seconds) they were last heard of; at the latest.
        self.silent: dict[HostId, float] = {}
        # Nodes (None: the gang) that rest before they are tried again, and until when.
        self.resting: dict[JobId, dict[int | None, float]] = {}
        self.version = 0
        # The version at which each job, or one of its nodes, last changed.
        self.touched: dict[JobId, int] = {}
        # Allocations whose GPUs do nothing: see utilization.
        self.idle: dict[AllocationId, Idle] = {}
        # Groups that measure before they start.
        self.measuring: dict[JobId, Measuring] = {}
        # Jobs that are not to be placed yet, and those that ended or were withheld since starts.follow last looked.
        self.withheld: dict[JobId, Withheld] = {}
        self.to_follow: set[JobId] = set()
        # What planning has to look at again: see placement.plan.
        self.fresh_jobs: set[JobId] = set()
        self.changed_hosts: set[HostId] = set()
        self.planning = Planning()
        # What is kept for whom, and the hosts that changed for it: see reservations.
        self.book = Book()

    def apply(self, change: Change) -> None:
        """Take one change in. Raises lifecycle.Forbidden when the table of transitions forbids it."""
        if type(change) not in UNSEEN:
            self.version += 1
        HANDLERS[type(change)](self, change)

    def next_attempt(self, last: int) -> int:
        """The number of the attempt after ``last`` (0: none yet), of a node or of a gang."""
        return max(last, self.attempt_floor) + 1

    def requeue(self, job_id: JobId) -> None:
        """Put the job in the queue when it has anything that may be placed, or take it out."""
        if self._waits(job_id):
            means = self.paces.get(job_id)
            self.queue.put(self.jobs[job_id], UNKNOWN if means is None else means.pace)
        elif job_id in self.queue:
            self.queue.drop(self.jobs[job_id])

    def _waits(self, job_id: JobId) -> bool:
        job = self.jobs[job_id]
        if job_id not in self.unfinished or job_id in self.withheld or job.state is JobState.STOPPING:
            return False
        if job.spec.placement is Placement.ANY:
            let_in = bool(self.ready[job_id]) and max_running.room(job, self.counts[job_id]) > 0
            return let_in or bool(self.short.get(job_id))
        gang = self.gangs.get(job_id)
        formed = gang is not None and gang.phase is not GangPhase.REFORMING
        return bool(self.pending[job_id]) and not formed and None not in self.resting.get(job_id, ())

    def host_changed(self, host: HostId) -> None:
        """Work may go there now that could not, or what was worked out about the host holds no longer."""
        self.changed_hosts.add(host)
        self.book.changed.add(host)
