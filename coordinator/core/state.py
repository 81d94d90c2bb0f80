"""Everything the coordinator knows, in memory: the records, the indexes over them, and ``apply``.

The indexes are derived; ``check_invariants`` builds them anew and compares, and states what must never happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coordinator.core import lifecycle, max_running
from coordinator.core.book import Book
from coordinator.core.chains import Chains
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    AllocationUpdated,
    Change,
    CostBooked,
    DeadlineSet,
    DistancesAsked,
    DistancesDropped,
    DistanceSeen,
    DistancesLate,
    GangDissolved,
    GangUpdated,
    GpusIdle,
    HealthUpdated,
    HostEventNoted,
    HostRemoved,
    HostSeen,
    HostSilent,
    HostUpdated,
    HostUpgradeUpdated,
    Idle,
    JobCreated,
    JobForgotten,
    JobUpdated,
    JobWithheld,
    MeasuringUpdated,
    NodeUpdated,
    NumbersSkipped,
    ReachSeen,
    RolloutUpdated,
    RoundTripSeen,
    TimeServed,
    TryDelayed,
    Withheld,
)
from coordinator.core.costs import LedgerEntry, LedgerKey, Meter
from coordinator.core.distances import DistanceMap
from coordinator.core.fairness import Shares
from coordinator.core.health_marks import marked
from coordinator.core.health_records import KEPT_EVENTS, Health, HostEvent, HostHealth
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.links import Link, link_of
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
        self.version += 1
        _APPLY[type(change)](self, change)

    def next_attempt(self, last: int) -> int:
        """The number of the attempt after ``last`` (0: none yet), of a node or of a gang."""
        return max(last, self.attempt_floor) + 1

    # ------------------------------------------------------------ one method a change

    def _job_created(self, change: JobCreated) -> None:
        job = change.job
        self.jobs[job.id] = job
        self.nodes[job.id] = {}
        self.pending[job.id] = RankSet(0, job.spec.nodes)
        self.ready[job.id] = RankSet(0, job.spec.nodes)
        self.job_allocations[job.id] = set()
        self.meters[job.id] = Meter()
        if job.spec.redundancy > 1:
            self.short[job.id] = RankSet()
        self.counts[job.id] = dict.fromkeys(NodeState, 0)
        self.counts[job.id][NodeState.PENDING] = job.spec.nodes
        if job.request_id:
            self.requests[job.request_id] = job.id
        known = self.names.get(job.name)
        if known is None or not job.state.ended or self.jobs[known].state.ended:
            # An older one that a user has tried again keeps its name before newer ones that ended.
            self.names[job.name] = job.id
        self.last_job_number = max(self.last_job_number, job.number)
        if not job.state.ended:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        self.unfinished[job.id] = None
        self.fresh_jobs.add(job.id)
        if job.spec.near is not None:
            self.near.setdefault(job.spec.near, set()).add(job.id)
        if job.spec.spares:
            self.spared[job.id] = None
        for dependency in job.spec.after:
            self.dependents.setdefault(JobId(dependency.job), set()).add(job.id)
        self._queue(job.id)

    def load_node(self, node: Node) -> None:
        """Take a stored node in, which may be in any state and did not get there from PENDING in one step."""
        self.nodes[node.job_id][node.rank] = node
        if node.state is not NodeState.PENDING:
            counts = self.counts[node.job_id]
            counts[NodeState.PENDING] -= 1
            counts[node.state] += 1
            self.pending[node.job_id].discard(node.rank)
            self.ready[node.job_id].discard(node.rank)
            self._queue(node.job_id)

    def _paced(self, node: Node) -> bool:
        """Take note of how long a node took that is done; whether that tells anything new."""
        job = self.jobs[node.job_id]
        if job.spec.placement is Placement.CLUSTER or job.spec.nodes == 1 or not 0.0 < node.started_at < node.ended_at:
            return False
        host = None if node.host_id is None else self.hosts.get(node.host_id)
        gpus = () if host is None or host.hardware is None else host.hardware.gpus
        model = next((gpu.name for gpu in gpus if gpu.uuid in node.gpus), "")
        means = self.paces.setdefault(job.id, Means())
        return means.add(node.variant, model, node.ended_at - node.started_at) and job.id in self.queue

    def _queue(self, job_id: JobId) -> None:
        """Whether the job has anything that may be placed."""
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

    def _job_updated(self, change: JobUpdated) -> None:
        job, old = change.job, self.jobs[change.job.id]
        lifecycle.check_job(old.state, job.state)
        self.jobs[job.id] = job
        self.touched[job.id] = self.version
        if old.state.ended and not job.state.ended:
            self.names[job.name] = job.id
            # What rested when the job ended rests no more.
            self.ready[job.id] = self.pending[job.id].copy()
            self._begin(job)
        if job.state.ended and not old.state.ended:
            self._end(job)
        self._queue(job.id)
        if job.state.ended or job.state is JobState.STOPPING:
            for host in self.book.forget(job.id):
                self._changed(host)

    def _end(self, job: Job) -> None:
        self.unfinished.pop(job.id, None)
        self.spared.pop(job.id, None)
        self.fresh_jobs.discard(job.id)
        self.resting.pop(job.id, None)
        self.withheld.pop(job.id, None)
        self.paces.pop(job.id, None)
        self.planning.steered.pop(job.id, None)
        self.chains.pace.pop(job.id, None)
        self._near_no_more(job)
        self.to_follow.add(job.id)
        for dependency in job.spec.after:
            waiting = self.dependents.get(JobId(dependency.job), set())
            waiting.discard(job.id)
            if not waiting:
                self.dependents.pop(JobId(dependency.job), None)

    def _near_no_more(self, job: Job) -> None:
        near = job.spec.near
        if near is not None and near in self.near:
            self.near[near].discard(job.id)
            if not self.near[near]:
                del self.near[near]

    def _job_withheld(self, change: JobWithheld) -> None:
        if change.by is None:
            self.withheld.pop(change.job_id, None)
            self.fresh_jobs.add(change.job_id)
        else:
            self.withheld[change.job_id] = change.by
            self.to_follow.add(change.job_id)
        self._queue(change.job_id)

    def _job_forgotten(self, change: JobForgotten) -> None:
        job = self.jobs.pop(change.id)
        self.to_follow.discard(job.id)
        for index in (
            self.nodes,
            self.pending,
            self.ready,
            self.job_allocations,
            self.meters,
            self.counts,
            self.touched,
            self.short,
        ):
            index.pop(job.id, None)
        self.requests.pop(job.request_id, None)
        if self.names.get(job.name) == job.id:
            del self.names[job.name]

    def _node_updated(self, change: NodeUpdated) -> None:
        node = change.node
        nodes, counts = self.nodes[node.job_id], self.counts[node.job_id]
        old = nodes.get(node.rank)
        old_state = old.state if old is not None else NodeState.PENDING
        lifecycle.check_node(old_state, node.state)
        nodes[node.rank] = node
        self.touched[node.job_id] = self.version
        counts[old_state] -= 1
        counts[node.state] += 1
        if node.state is NodeState.PENDING:
            self.pending[node.job_id].add(node.rank)
            self.fresh_jobs.add(node.job_id)
            if node.rank not in self.resting.get(node.job_id, ()):
                self.ready[node.job_id].add(node.rank)
        elif old_state is NodeState.PENDING:
            self.pending[node.job_id].discard(node.rank)
            self.ready[node.job_id].discard(node.rank)
        self.chains.time(node)
        self._count_copies(node.job_id, node.rank)
        paced = node.state is NodeState.DONE and self._paced(node)
        limited = self.jobs[node.job_id].spec.max_running is not None
        if paced or limited or NodeState.PENDING in (old_state, node.state):
            self._queue(node.job_id)

    def _count_copies(self, job_id: JobId, rank: int) -> None:
        """Whether the node runs with fewer copies than it may have."""
        short = self.short.get(job_id)
        if short is None:
            return
        node = self.nodes[job_id].get(rank)
        runs = node is not None and node.state in (NodeState.PLACED, NodeState.RUNNING)
        wanted = self.jobs[job_id].spec.redundancy - (node.copies_failed if node is not None else 0)
        if runs and len(self.copies.get((job_id, rank), ())) < wanted:
            short.add(rank)
        else:
            short.discard(rank)
        self._queue(job_id)

    def _allocation_reserved(self, change: AllocationReserved) -> None:
        allocation = change.allocation
        self.allocations[allocation.id] = allocation
        self.job_allocations[allocation.job_id].add(allocation.id)
        self._meter(allocation.job_id).add(allocation)
        self.bill.add(allocation)
        if allocation.job_id in self.short:
            self.copies.setdefault((allocation.job_id, allocation.rank), set()).add(allocation.id)
            self._count_copies(allocation.job_id, allocation.rank)
        self.usage[allocation.host_id].allocations.add(allocation.id)
        if allocation.behind is None:
            self._hold(allocation)
            self.chains.heads[allocation.id] = True
        else:
            self.chains.put(allocation)
        self.book.changed.add(allocation.host_id)
        if allocation.preempted_by:
            self.book.cede(allocation)

    def _hold(self, allocation: Allocation) -> None:
        self.usage[allocation.host_id].hold(allocation)
        self.shares.count(self.jobs[allocation.job_id].user, allocation, 1)
        self.planning.taken.add((allocation.host_id,))

    def _allocation_updated(self, change: AllocationUpdated) -> None:
        new = change.allocation
        old = self.allocations[new.id]
        lifecycle.check_phases((old.wanted, old.observed), (new.wanted, new.observed))
        if (new.price, new.held_since) != (old.price, old.held_since):
            for meter in (self._meter(new.job_id), self.bill):
                meter.take(old)
                meter.add(new)
        self.allocations[new.id] = new
        if old.behind is not None and new.behind != old.behind:
            self.chains.take(old)
            if new.behind is None:
                self._hold(new)
                self.chains.heads[new.id] = False
            else:
                self.chains.put(new)
        if old.wanted is not new.wanted:
            self.book.changed.add(new.host_id)
            if new.preempted_by:
                self.book.cede(new)

    def _allocation_freed(self, change: AllocationFreed) -> None:
        allocation = self.allocations.pop(change.id)
        self.idle.pop(change.id, None)
        self.job_allocations[allocation.job_id].discard(allocation.id)
        self._meter(allocation.job_id).take(allocation)
        self.bill.take(allocation)
        if allocation.job_id in self.short:
            self._copy_freed(allocation)
        if allocation.preempted_by:
            self.book.ceded_is_free(allocation)
        job = self.jobs[allocation.job_id]
        if allocation.behind is None:
            self.usage[allocation.host_id].free(allocation)
            self.shares.count(job.user, allocation, -1)
        else:
            self.usage[allocation.host_id].allocations.discard(allocation.id)
            self.chains.take(allocation)
        self._changed(allocation.host_id)
        if (job.spec.spares and allocation.rank >= job.spec.nodes) or job.spec.max_running is not None:
            # Another one may stand ready already, or be let in on any host.
            self.fresh_jobs.add(job.id)

    def _copy_freed(self, copy: Allocation) -> None:
        held = self.copies[copy.job_id, copy.rank]
        held.discard(copy.id)
        if not held:
            del self.copies[copy.job_id, copy.rank]
        # Another one may find room anywhere, not only where this one was.
        self.fresh_jobs.add(copy.job_id)
        self._count_copies(copy.job_id, copy.rank)

    def _gpus_idle(self, change: GpusIdle) -> None:
        self.version -= 1  # Readers see nothing of it.
        if change.idle is None:
            self.idle.pop(change.allocation_id, None)
        else:
            self.idle[change.allocation_id] = change.idle

    def _measuring_updated(self, change: MeasuringUpdated) -> None:
        self.measuring[change.measuring.job_id] = change.measuring
        self.touched[change.measuring.job_id] = self.version

    def _gang_updated(self, change: GangUpdated) -> None:
        gang = change.gang
        old = self.gangs.get(gang.job_id)
        if old is not None:
            lifecycle.check_gang(old.phase, gang.phase)
        self.gangs[gang.job_id] = gang
        if gang.phase is not GangPhase.PREPARING:
            self.measuring.pop(gang.job_id, None)
        self._queue(gang.job_id)

    def _gang_dissolved(self, change: GangDissolved) -> None:
        del self.gangs[change.job_id]
        self.measuring.pop(change.job_id, None)
        self._queue(change.job_id)

    def _host_updated(self, change: HostUpdated) -> None:
        host = marked(change.host, self.health.get(change.host.id))
        known = self.hosts.get(host.id)
        self.shares.refit(None if known is None else known.hardware, host.hardware)
        self.hosts[host.id] = host
        self.links[host.id] = link_of(host)
        self.usage.setdefault(host.id, Usage()).version += 1
        self._touch_jobs_on(host.id)
        self.reach.set_best(host.id, host.peer.addresses[0] if host.peer.addresses else None)
        self.last_host_number = max(self.last_host_number, int(host.id.removeprefix("h-")))
        self._changed(host.id)

    def _host_seen(self, change: HostSeen) -> None:
        self._see(marked(change.host, self.health.get(change.host.id)))

    def _see(self, host: Host) -> None:
        known = self.hosts[host.id]
        if known.state is not host.state or _troubles(known) != _troubles(host):
            self._changed(host.id)
            self._touch_jobs_on(host.id)
        if known.hardware is not host.hardware:
            self.shares.refit(known.hardware, host.hardware)
            self.usage[host.id].version += 1
            self.links[host.id] = link_of(host)
        self.hosts[host.id] = host

    def _health_updated(self, change: HealthUpdated) -> None:
        health = change.health
        known = self.health.get(health.host_id)
        for record in health.gpus:
            lifecycle.check_health(known.of(record.gpu).state if known else Health.HEALTHY, record.state)
        self.load_health(health)

    def load_health(self, health: HostHealth) -> None:
        """Take stored health in, of which GPUs may be in any state."""
        self.health[health.host_id] = health
        self.vacating.discard(health.host_id)
        if any(record.state is Health.DRAINING for record in health.gpus):
            self.vacating.add(health.host_id)
        host = self.hosts[health.host_id]
        new = marked(host, health)
        if new is not host:
            self._see(new)

    def _host_event_noted(self, change: HostEventNoted) -> None:
        self.events.append(change.event)
        self.last_event = max(self.last_event, change.event.number)

    def _changed(self, host: HostId) -> None:
        """Work may go there now that could not, or what was worked out about the host holds no longer."""
        self.changed_hosts.add(host)
        self.book.changed.add(host)

    def _host_silent(self, change: HostSilent) -> None:
        self.version -= 1  # Readers see the host's state, which changes with it.
        if change.since is None:
            self.silent.pop(change.host_id, None)
        else:
            self.silent[change.host_id] = change.since

    def _touch_jobs_on(self, host: HostId) -> None:
        """What is said of a job changes when a host of it goes away or comes back."""
        for allocation in self.usage[host].allocations:
            self.touched[self.allocations[allocation].job_id] = self.version

    def _host_removed(self, change: HostRemoved) -> None:
        self.shares.refit(self.hosts.pop(change.id).hardware, None)
        self.planning.forget_host(change.id)
        del self.usage[change.id]
        del self.links[change.id]
        self.silent.pop(change.id, None)
        self.health.pop(change.id, None)
        self.vacating.discard(change.id)
        self.reach.forget(change.id)
        self.distances.forget_host(change.id)
        self.rollouts.forget(change.id)
        self.changed_hosts.discard(change.id)
        self.book.changed.add(change.id)

    def _rollout_updated(self, change: RolloutUpdated) -> None:
        self.rollouts.take(change.rollout)

    def _host_upgrade_updated(self, change: HostUpgradeUpdated) -> None:
        self.rollouts.put(change.upgrade)

    def _numbers_skipped(self, change: NumbersSkipped) -> None:
        self.last_job_number = max(self.last_job_number, change.jobs)
        self.last_host_number = max(self.last_host_number, change.hosts)
        self.attempt_floor = max(self.attempt_floor, change.attempts)

    def _reach_seen(self, change: ReachSeen) -> None:
        if self.reach.record(change.reach):
            self._changed(change.reach.source)
            self._changed(change.reach.target)

    def _distances_asked(self, change: DistancesAsked) -> None:
        self.distances.ask(change.target, change.hosts)

    def _distance_seen(self, change: DistanceSeen) -> None:
        self.distances.record(change.distance)
        self.planning.freed.add((change.distance.host_id,))

    def _distances_late(self, change: DistancesLate) -> None:
        self.distances.give_up(change.target)

    def _distances_dropped(self, change: DistancesDropped) -> None:
        self.distances.forget(change.target)

    def _round_trip_seen(self, change: RoundTripSeen) -> None:
        self.distances.set_round_trip(change.host_id, change.seconds)
        self.planning.freed.add((change.host_id,))

    def _try_delayed(self, change: TryDelayed) -> None:
        resting = self.resting.setdefault(change.job_id, {})
        if change.until is not None:
            resting[change.rank] = change.until
            if change.rank is not None:
                self.ready[change.job_id].discard(change.rank)
            self._queue(change.job_id)
            return
        resting.pop(change.rank, None)
        if not resting:
            del self.resting[change.job_id]
        if change.rank is not None and change.rank in self.pending[change.job_id]:
            self.ready[change.job_id].add(change.rank)
        if change.job_id in self.unfinished:
            self.fresh_jobs.add(change.job_id)
            self._queue(change.job_id)

    def _meter(self, job_id: JobId) -> Meter:
        """What the job's allocations cost, which is about to change."""
        if self.jobs[job_id].spec.budget is not None:
            self.metered[job_id] = None
        return self.meters[job_id]

    def _cost_booked(self, change: CostBooked) -> None:
        self.ledger[change.entry.key] = change.entry

    def _time_served(self, change: TimeServed) -> None:
        self.version -= 1  # Readers see nothing of it.
        self.served = change.seconds

    def _deadline_set(self, change: DeadlineSet) -> None:
        self.version -= 1  # Readers see nothing of it.
        if change.at is None:
            self.deadlines.pop(change.key, None)
        else:
            self.deadlines[change.key] = change.at


def _troubles(host: Host) -> tuple[object, ...]:
    """What of a host's hardware keeps work away, and may mend or grow."""
    hardware = host.hardware
    if hardware is None:
        return ()
    cards = tuple((gpu.uuid, gpu.problem, gpu.fenced) for gpu in hardware.gpus)
    return (host.fenced, hardware.disk_problem, hardware.cpus, hardware.memory_bytes, *cards)


_APPLY: dict[type, Callable[[State, Any], None]] = {
    JobCreated: State._job_created,
    JobUpdated: State._job_updated,
    JobWithheld: State._job_withheld,
    JobForgotten: State._job_forgotten,
    NodeUpdated: State._node_updated,
    AllocationReserved: State._allocation_reserved,
    AllocationUpdated: State._allocation_updated,
    AllocationFreed: State._allocation_freed,
    GangUpdated: State._gang_updated,
    GpusIdle: State._gpus_idle,
    GangDissolved: State._gang_dissolved,
    HostUpdated: State._host_updated,
    HostSeen: State._host_seen,
    HostSilent: State._host_silent,
    HostRemoved: State._host_removed,
    RolloutUpdated: State._rollout_updated,
    HostUpgradeUpdated: State._host_upgrade_updated,
    HealthUpdated: State._health_updated,
    HostEventNoted: State._host_event_noted,
    NumbersSkipped: State._numbers_skipped,
    CostBooked: State._cost_booked,
    ReachSeen: State._reach_seen,
    DistancesAsked: State._distances_asked,
    DistanceSeen: State._distance_seen,
    DistancesLate: State._distances_late,
    MeasuringUpdated: State._measuring_updated,
    DistancesDropped: State._distances_dropped,
    RoundTripSeen: State._round_trip_seen,
    DeadlineSet: State._deadline_set,
    TimeServed: State._time_served,
    TryDelayed: State._try_delayed,
}
