"""What must never happen, seen from outside: by the processes that really run, by what is on disks, and by what was
acknowledged. Nothing here asks the code under test what it believes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from agent.core.model import Observed, Phase
from coordinator.core.changes import AllocationFreed, AllocationReserved, JobUpdated, NodeUpdated
from coordinator.core.ids import AllocationId
from coordinator.core.model import Allocation, EndCause, Job, JobState, Node, NodeState
from coordinator.core.model import Phase as CorePhase
from coordinator.core.spec import DisconnectAction, Placement
from tests.sim.output_ledger import OutputLedger, Violated

if TYPE_CHECKING:
    from agent.spawner.wire import Message
    from tests.sim.host import Host
    from tests.sim.spawner import Running
    from tests.sim.world import World

# What delays of messages, daemons and disks may add to a promised time.
SLACK = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as the coordinator has it on its disk."""

    exit_code: int | None
    cause: EndCause | None


class Ledger:
    """Watches one history and raises Violated at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, Job] = {}
        self.requests: dict[str, str] = {}
        self.live: dict[str, Running] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._ended: dict[str, Running] = {}
        self._starts: dict[str, tuple[str, int]] = {}
        self._prepared: set[str] = set()
        self._groups: dict[tuple[str, int], Any] = {}
        self._recorded: dict[str, Outcome] = {}
        self._heard: dict[str, float] = {}
        self._heard_now: frozenset[str] = frozenset()
        self._stopping: set[str] = set()
        self._stopped: set[str] = set()
        self._unwanted: dict[str, float] = {}
        self._ranks: dict[tuple[str, int], dict[str, int]] = {}
        self._winners: dict[tuple[str, int], int] = {}
        self._closed: set[str] = set()
        self.output = OutputLedger(world)

    # --- processes ----------------------------------------------------------------------------------------------

    def started(self, process: Running) -> None:
        """A process begins on a host."""
        desired, host, key = process.desired, process.host, process.id
        self._check_copies(process)
        for other in self.live.values():
            shared = set(other.desired.gpu_uuids) & set(desired.gpu_uuids)
            if other.host is host and shared:
                raise Violated(f"{key} starts on {host.name} with {sorted(shared)}, which {other.id} uses")
        self._check_cpus(process)
        before = self._starts.get(key)
        if before is not None and (before[0] != host.id or before[1] == host.boots):
            raise Violated(f"{key} is started a second time, on {host.name}")
        self._starts[key] = (host.id, host.boots)
        self.output.started(key, host)
        self.live[key] = process
        if desired.spec.cluster:
            self._check_member(desired)
        elif desired.group is not None or desired.members:
            raise Violated(f"{key} may run anywhere but was told of a group")

    def _check_cpus(self, process: Running) -> None:
        """What begins behind another one does so when that one is gone, not before."""
        there = [process, *(other for other in self.live.values() if other.host is process.host)]
        cpus = sum(self.world.disk.jobs[each.desired.job_id].spec.resources.cpus.min or 1 for each in there)
        if cpus > process.host.cpus:
            raise Violated(f"{process.id} starts on {process.host.name}, which has {process.host.cpus} CPUs: {there}")

    def _check_copies(self, process: Running) -> None:
        """Never more of a node at once than its job asks for, and never two in one backend."""
        desired, host = process.desired, process.host
        live = [p for p in self.live.values() if (p.desired.job_id, p.desired.rank) == (desired.job_id, desired.rank)]
        most = self.world.disk.jobs[desired.job_id].spec.redundancy
        for other in live:
            if len(live) >= most or other.host.facts.backend == host.facts.backend:
                raise Violated(f"{process.id} starts on {host.name} while {other.id} runs on {other.host.name}")

    def _check_member(self, desired: Any) -> None:
        job, generation, group = desired.job_id, desired.attempt, desired.group
        if desired.rank >= desired.spec.nodes:
            raise Violated(f"{desired.id} is a spare, but starts")
        if group is None or group.generation != generation:
            raise Violated(f"{desired.id} starts without its group: {group}")
        if self._groups.setdefault((job, generation), group) != group:
            raise Violated(f"{desired.id} was told of another group than its peers")
        if [member.rank for member in group.members] != list(range(desired.spec.nodes)):
            raise Violated(f"{desired.id} starts in a group of {len(group.members)}, not {desired.spec.nodes}")
        for rank in range(desired.spec.nodes):
            if f"{job}.{rank}.{generation}" not in self._prepared:
                raise Violated(f"{desired.id} starts before rank {rank} was prepared")

    def ended(self, process: Running) -> None:
        """A process is gone."""
        del self.live[process.id]
        self._ended[process.id] = process

    def prepared(self, key: str) -> None:
        """An agent says that this allocation is prepared."""
        self._prepared.add(key)

    def recorded(self, host: Host, news: Message) -> None:
        """An end is on a host's disk for good."""
        code: Any = news["code"]
        # Peers in its group are stopped for that reason too, by their coordinator.
        by_lease = news["cause"] == "host" and "out of contact" in str(news["reason"])
        if by_lease and self._silence(str(news["id"]).partition(".")[0]) == inf:
            raise Violated(f"{news['id']} on {host.name} is ended by the end of its lease, though it is to be kept")
        if news["cause"] == "exit":
            self._recorded[str(news["id"])] = Outcome(code, EndCause.EXIT)

    # --- what the coordinator has on disk -----------------------------------------------------------------------

    def heard(self, host: str) -> None:
        """The coordinator decided on a call of this host's session."""
        self._heard[host] = self.world.clock.now

    def committed(self, changes: Iterable[Any], heard: Iterable[str]) -> None:
        """These changes are on the coordinator's disk, and were not before; ``heard`` called in the same turn."""
        self._heard_now = frozenset(heard)
        for change in changes:
            if isinstance(change, AllocationFreed):
                if change.id in self.live:
                    raise Violated(f"{change.id} is freed while it runs on {self.live[change.id].host.name}")
            elif isinstance(change, AllocationReserved):
                if change.allocation.job_id in self._stopping:
                    raise Violated(f"{change.allocation.id} is placed after its job was stopped")
                self._check_rank(change.allocation)
                if change.allocation.host_id in self._closed:
                    raise Violated(f"{change.allocation.id} is placed on {change.allocation.host_id}, which is closed")
            elif isinstance(change, NodeUpdated):
                self._check_node(change.node)
            elif isinstance(change, JobUpdated):
                self._check_job(change.job)

    def _check_rank(self, allocation: Allocation) -> None:
        """A host that is in two generations in a row has the same rank in both."""
        job = self.world.disk.jobs[allocation.job_id]
        if job.spec.placement is Placement.CLUSTER and allocation.rank < job.spec.nodes:
            ranks = self._ranks.setdefault((job.id, allocation.attempt), {})
            ranks[allocation.host_id] = allocation.rank
            before = self._ranks.get((job.id, allocation.attempt - 1), {}).get(allocation.host_id, allocation.rank)
            if before != allocation.rank:
                raise Violated(f"{allocation.id} is on {allocation.host_id}, which had rank {before} before")

    def _check_winner(self, node: Node) -> None:
        """The first success of a node stands, and what else runs of it is stopped at once."""
        won = self._winners.get((node.job_id, node.rank))
        if won is not None and (node.state, node.attempt) != (NodeState.DONE, won):
            raise Violated(f"node {node.job_id}.{node.rank} was done by attempt {won} and is {node}")
        if node.state is NodeState.DONE and self.world.disk.jobs[node.job_id].spec.placement is Placement.ANY:
            self._winners[node.job_id, node.rank] = node.attempt
            for held in self.world.disk.allocations.values():
                if (held.job_id, held.rank) == (node.job_id, node.rank) and held.wanted is not CorePhase.STOPPING:
                    raise Violated(f"node {node.job_id}.{node.rank} is done, but {held.id} is not stopped")

    def _check_node(self, node: Node) -> None:
        self._check_winner(node)
        if node.cause is None:
            return
        key = f"{node.job_id}.{node.rank}.{node.attempt}"
        # What made place was stopped, as far as its host knows.
        outcome = Outcome(node.exit_code, EndCause.STOPPED if node.cause is EndCause.PREEMPTED else node.cause)
        known = self.outcomes.get(key)
        if known is not None:
            if known != outcome:
                raise Violated(f"the end of {key} was {known} and is changed to {outcome}")
            return
        self.outcomes[key] = outcome
        self.output.check_files(node)
        silent = node.cause is EndCause.HOST and "not heard of for" in node.reason
        process = self._ended.get(key)
        if node.exit_code is not None and (process is None or process.code != node.exit_code):
            raise Violated(
                f"{key} is said to have ended with {node.exit_code}, it ended with {process and process.code}"
            )
        if silent:
            timing = self.world.timing
            if node.host_id in self._heard_now:
                raise Violated(f"{key} is given up though {node.host_id} called before that was decided")
            for_seconds = self.world.clock.now - self._heard.get(str(node.host_id), -1000.0)
            # What never started is given up with the lease.
            own = self._silence(node.job_id) if key in self._starts else 0.0
            if for_seconds < max(timing.lease, own):
                raise Violated(f"{key} is given up {for_seconds:.1f} s after {node.host_id} was heard of")
        exited = self._recorded.get(key)
        if exited is not None and exited != outcome and not silent and not self._is_blamed_on_a_gpu(node, exited):
            raise Violated(f"{key} ended with {exited} on its host's disk, and with {outcome} on the coordinator's")

    def _is_blamed_on_a_gpu(self, node: Node, exited: Outcome) -> bool:
        """Whether a program's failure counts as its host's, because of a fault that the coordinator knows of."""
        if (node.cause, exited.cause) != (EndCause.HOST, EndCause.EXIT) or node.exit_code != exited.exit_code:
            return False
        health = self.world.disk.health.get(node.host_id) if node.host_id is not None else None
        faults = {gpu.fault_reason for gpu in health.gpus if gpu.fault_reason} if health is not None else set()
        return bool(exited.exit_code) and any(node.reason.startswith(f"{fault}; ") for fault in faults)

    def _silence(self, job_id: str) -> float:
        """Seconds out of contact that the job's nodes may outlast."""
        rule = self.world.disk.jobs[job_id].spec.on_disconnect
        if rule.after is not None:
            return rule.after
        return inf if rule.action is DisconnectAction.KEEP else 0.0

    def _check_job(self, job: Job) -> None:
        if job.state is JobState.STOPPING:
            self._stopping.add(job.id)
            if job.exit_code is None:
                # By a user, not by a failed node.
                self._stopped.add(job.id)
        if job.id in self._stopped and job.state is JobState.FAILED:
            raise Violated(f"{job.id} was stopped but becomes {job.state.value}: {job.reason}")

    # --- what was acknowledged ----------------------------------------------------------------------------------

    def submitted(self, job: Job) -> None:
        """A user was told that this job is accepted."""
        if self.requests.setdefault(job.request_id, job.id) != job.id:
            raise Violated(f"request {job.request_id} made both {self.requests[job.request_id]} and {job.id}")
        self.jobs[job.id] = job
        self.check_jobs()

    def stopped(self, job_id: str) -> None:
        """A user was told that this job is being stopped."""
        state = self.world.disk.jobs[job_id].state
        if not state.ended and state is not JobState.STOPPING:
            raise Violated(f"the stop of {job_id} was acknowledged, but on disk it is {state.value}")

    def closed(self, host_id: str) -> None:
        """A user was told that this host gets no more work."""
        self._closed.add(host_id)

    def removed(self, host_id: str) -> None:
        """A user, or its agent, was told that this host is no part of the cluster."""
        self._closed.add(host_id)
        if host_id in self.world.disk.hosts:
            raise Violated(f"{host_id} is said to be removed, but is on the coordinator's disk")

    def opened(self, host_id: str) -> None:
        """A user wants work on this host again."""
        self._closed.discard(host_id)

    def acknowledged(self, statuses: Sequence[Observed]) -> None:
        """An agent was told that the coordinator has these."""
        for seen in statuses:
            held = self.world.disk.allocations.get(AllocationId(str(seen.id)))
            # What a gang keeps of a member that is gone is held, and known to have ended.
            if seen.phase is Phase.ENDED and held is not None and held.observed is not CorePhase.ENDED:
                raise Violated(f"the end of {seen.id} was acknowledged, but is not on the coordinator's disk")

    def check_jobs(self) -> None:
        """Every acknowledged job is on disk as it was submitted."""
        for job in self.jobs.values():
            kept = self.world.disk.jobs.get(job.id)
            if kept is None or kept.spec != job.spec:
                raise Violated(f"acknowledged job {job.id} is lost")

    # --- from time to time --------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Whatever runs is wanted, or about to end."""
        now, timing = self.world.clock.now, self.world.timing
        for key in [key for key in self._unwanted if key not in self.live]:
            del self._unwanted[key]
        for key, process in self.live.items():
            if key in self.world.disk.allocations:
                continue
            since = self._unwanted.setdefault(key, now)
            if now - since > timing.lease + timing.lease_grace + SLACK:
                raise Violated(f"{key} runs on {process.host.name}, wanted by nobody for {now - since:.0f} s")
