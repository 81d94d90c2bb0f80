"""The whole coordinator core without any I/O: a clock that tests move, agents that do what they are told when asked.

Every step runs the production ``decide`` and ``settle`` and then checks every invariant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coordinator.core.changes import AllocationReserved, HealthUpdated
from coordinator.core.decide import decide, next_deadline, settle
from coordinator.core.desired import desired_of
from coordinator.core.effects import Effect, ProbesWanted
from coordinator.core.events import (
    AllocationStatus,
    CoordinatorStarted,
    Event,
    HostJoined,
    HostReported,
    JobSubmitted,
    SessionOpened,
    Ticked,
)
from coordinator.core.fencing import WINDOW, limit
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.invariants import check_invariants
from coordinator.core.measured import Answer, DeviceSpeed
from coordinator.core.model import Allocation, EndCause, Host, HostFacts, Instant, Job, Node, PeerEndpoint, Phase, Reach
from coordinator.core.preflight import Order
from coordinator.core.restore import Records, restore
from coordinator.core.spec import JobSpec
from coordinator.core.state import State
from coordinator.core.turn import Turn


def hardware(cpus: int = 4, gpus: int = 0, model: str = "NVIDIA H100 80GB HBM3", prefix: str = "GPU") -> Hardware:
    """A host's hardware with ``gpus`` GPUs of 80 GB."""
    cards = tuple(Gpu(f"{prefix}-{i}", i, model, memory_bytes=80 << 30, compute_capability=(9, 0)) for i in range(gpus))
    return Hardware(hostname=prefix, arch="x86_64", cpus=cpus, memory_bytes=16 << 30, gpus=cards)


@dataclass
class World:
    """A coordinator, and the hosts that it may use. ``cut`` holds directed pairs of host names that do not reach."""

    state: State = field(default_factory=State)
    now: float = 1000.0
    wall_offset: float = 0.0
    served_from: float = 0.0
    effects: list[Effect] = field(default_factory=list)
    cut: set[tuple[str, str]] = field(default_factory=set)
    asleep: set[HostId] = field(default_factory=set)
    # Between two hosts, by name, in bits a second; and what they say of their GPUs.
    speeds: dict[tuple[str, str], float] = field(default_factory=dict)
    speed: float = 9.4e9
    devices: dict[HostId, tuple[DeviceSpeed, ...]] = field(default_factory=dict)
    # Whether agents can begin one node right behind another one.
    queues: bool = False
    # When (served seconds) which host was fenced for its GPUs, by itself.
    fences: list[tuple[float, HostId]] = field(default_factory=list)

    # ------------------------------------------------------------ stepping

    def post(self, event: Event) -> Any:
        """One turn with one event; its answer. Every invariant is checked after it."""
        turn = Turn(self.state, Instant(self.now, self.now + self.wall_offset, self.now + self.served_from))
        answer = decide(turn, event)
        settle(turn)
        check_invariants(self.state)
        self._check_fences(turn)
        self.effects.extend(turn.effects)
        if self.state.planning.unfinished:
            self.post(Ticked())
        return answer

    def _check_fences(self, turn: Turn) -> None:
        """No work came to a GPU that is fenced, and no more hosts were fenced than the breaker allows."""
        for change in turn.changes:
            if isinstance(change, AllocationReserved):
                hardware = self.state.hosts[change.allocation.host_id].hardware
                assert hardware is not None
                fenced = {gpu.uuid for gpu in hardware.gpus if gpu.fenced}
                assert fenced.isdisjoint(change.allocation.gpus), f"{change.allocation.id} was placed on a fenced GPU"
            if isinstance(change, HealthUpdated) and change.health.fenced_since == turn.at.served:
                self._check_breaker(turn, change.health.host_id)

    def _check_breaker(self, turn: Turn, fenced: HostId) -> None:
        """One more host was fenced; those that were removed since count no more."""
        lately = {host for at, host in self.fences if turn.at.served - at < WINDOW and host in self.state.hosts}
        assert fenced in lately or len(lately) < limit(self.state), f"{fenced} was fenced, too, after {lately}"
        self.fences.append((turn.at.served, fenced))

    def advance(self, seconds: float) -> None:
        """Move the clock, with a tick at every deadline on the way; awake hosts report as they should."""
        until = self.now + seconds
        beat = self.state.timing.heartbeat
        while self.now < until:
            due = next_deadline(self.state)
            self.now = min(until, self.now + beat, max(self.now, due) if due is not None else until)
            self.beat()
            self.post(Ticked())

    def beat(self) -> None:
        """Every awake host sends its heartbeat."""
        for host in list(self.state.hosts.values()):
            if host.hardware is not None and host.id not in self.asleep:
                self.report(host.id)

    def restart(self) -> None:
        """The coordinator dies and comes back with what was durable."""
        old = self.state
        records = Records(
            jobs=tuple(old.jobs.values()),
            nodes=tuple(node for nodes in old.nodes.values() for node in nodes.values()),
            allocations=tuple(old.allocations.values()),
            gangs=tuple(old.gangs.values()),
            hosts=tuple(old.hosts.values()),
            costs=tuple(old.ledger.values()),
            rollouts=(old.rollouts.last,) if old.rollouts.last is not None else (),
            host_upgrades=old.rollouts.all(),
            health=tuple(old.health.values()),
            events=tuple(old.events),
            last_job_number=old.last_job_number,
            last_host_number=old.last_host_number,
            served=old.served,
            attempt_floor=old.attempt_floor,
        )
        self.served_from = (old.served or self.now) - self.now
        self.state = restore(records, old.timing)
        self.post(CoordinatorStarted())

    # ------------------------------------------------------------ hosts

    def add_host(self, name: str, hw: Hardware | None = None, facts: HostFacts | None = None) -> Host:
        """Join a host, open its session, and have everybody probed."""
        host: Host = self.post(HostJoined(name, facts or HostFacts(), machine_id=name))
        self.open(host.id, hw or hardware(prefix=name))
        self.probe_all()
        return self.state.hosts[host.id]

    def open(self, host_id: HostId, hw: Hardware | None = None, build: str = "") -> Host:
        """Open a session of the host, whose agent is the installed version ``build``."""
        known = self.state.hosts[host_id]
        hw = hw or known.hardware or hardware()
        peer = PeerEndpoint((f"10.0.0.{host_id.removeprefix('h-')}",), 7000)
        opened: Host = self.post(SessionOpened(host_id, known.facts, hw, peer, "test", queues=self.queues, build=build))
        return opened

    def report(self, host_id: HostId, *statuses: AllocationStatus, probes: tuple[Reach, ...] = ()) -> None:
        """A report of the host's current session."""
        epoch = self.state.hosts[host_id].epoch
        self.post(HostReported(host_id, epoch, statuses, probes))

    def probe_all(self) -> None:
        """Carry out every probe that was ordered."""
        wanted, self.effects = [e for e in self.effects if isinstance(e, ProbesWanted)], []
        for order in wanted:
            if order.host_id in self.state.hosts:
                probes = tuple(self.reach(order.host_id, t) for t in order.targets if t in self.state.hosts)
                self.report(order.host_id, probes=probes)

    def reach(self, source: HostId, target: HostId) -> Reach:
        """What a probe would show now."""
        names = (self.state.hosts[source].name, self.state.hosts[target].name)
        peer = self.state.hosts[target].peer
        reached = names not in self.cut
        return Reach(source, target, peer.addresses[0], peer.port, reached, "" if reached else "timed out")

    # ------------------------------------------------------------ jobs

    def submit(self, spec: JobSpec, request: str = "", user: str = "ann") -> Job:
        """Submit a job."""
        job: Job = self.post(JobSubmitted(spec, user, request))
        return self.state.jobs[job.id]

    def job(self, job_id: JobId) -> Job:
        """The job as it is now."""
        return self.state.jobs[job_id]

    def node(self, job_id: JobId, rank: int) -> Node:
        """The node as it is now."""
        return self.state.nodes[job_id][rank]

    def held(self, job_id: JobId | None = None) -> list[Allocation]:
        """Live allocations, of one job or of all, in the order of their ids."""
        found = [a for a in self.state.allocations.values() if job_id in (None, a.job_id)]
        return sorted(found, key=lambda a: (a.job_id, a.rank))

    def obey(self, allocation: Allocation) -> None:
        """The host does what it is told for the allocation, at once: prepare, start, or stop."""
        order = desired_of(self.state, allocation.id)
        assert order is not None
        wanted = order.allocation.wanted
        if wanted is Phase.STOPPING:
            self.end(allocation.id, None, EndCause.STOPPED)
        elif wanted is Phase.PREPARED:
            probes = tuple(self.reach(allocation.host_id, member.host.id) for member in order.members)
            answer = None if order.measures is None else self.measure(allocation.host_id, order.measures)
            status = AllocationStatus(allocation.id, Phase.PREPARED, master_port=29500, answer=answer)
            self.report(allocation.host_id, status, probes=probes)
        else:
            self.report(allocation.host_id, AllocationStatus(allocation.id, Phase.RUNNING, started_at=self.now))

    def measure(self, source: HostId, order: Order) -> Answer | None:
        """What the host finds that is to measure; None: it only answers another one."""
        if order.peer is None:
            return Answer(order.number, unable=True, problem="no torch", devices=self.devices.get(source, ()))
        names = (self.state.hosts[source].name, self.state.hosts[order.peer.host_id].name)
        if not order.calls:
            return None
        if names in self.cut:
            return Answer(order.number, "timed out")
        there, back = self.speeds.get(names, self.speed), self.speeds.get(names[::-1], self.speed)
        return Answer(order.number, latency=0.0002, sent=there, received=back)

    def end(self, allocation_id: AllocationId, code: int | None = 0, cause: EndCause = EndCause.EXIT) -> None:
        """The allocation's process ends and its host reports it."""
        host = self.state.allocations[allocation_id].host_id
        status = AllocationStatus(allocation_id, Phase.ENDED, code, cause, started_at=self.now, ended_at=self.now)
        self.report(host, status)

    def start(self, job_id: JobId) -> None:
        """Have every allocation of the job prepared and started."""
        for _ in range(2):
            for allocation in self.held(job_id):
                if allocation.id in self.state.allocations:
                    self.obey(allocation)
