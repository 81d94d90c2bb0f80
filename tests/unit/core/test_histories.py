"""Random histories of submits, ends, losses, cuts, stops and restarts: the invariants hold after every step, and once
the faults stop every job ends."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from coordinator.core import fit, needs, placement, regroup, retests
from coordinator.core.errors import Refused
from coordinator.core.events import (
    CordonRequested,
    DrainRequested,
    HostLeft,
    HostReported,
    QuarantineRequested,
    ReleaseRequested,
    RemovalRequested,
    RetryRequested,
    StopRequested,
    Ticked,
    VacateAsked,
)
from coordinator.core.events import TestRequested as AskedForTest
from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.health_book import of_host
from coordinator.core.ids import HostId, JobId
from coordinator.core.invariants import check_invariants
from coordinator.core.model import Allocation, EndCause, HostFacts, HostState
from coordinator.core.regroup import is_kept
from coordinator.core.spares import is_spare
from coordinator.core.spec import (
    AfterWhen,
    Dependency,
    DisconnectAction,
    GpuRequest,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    Placement,
    Range,
    Resources,
    RetryPolicy,
    StopCriteria,
)
from tests.fakes.gpu_fleet import watched
from tests.fakes.world import World


class Histories(RuleBasedStateMachine):
    """One coordinator with a handful of hosts and a user who never tires."""

    hosts: Bundle[HostId] = Bundle("hosts")
    jobs: Bundle[JobId] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.joined = 0

    @initialize(target=hosts, cpus=st.integers(1, 4))
    def first_host(self, cpus: int) -> HostId:
        return self._join(cpus, 0, None)

    @precondition(lambda self: self.joined < 6)
    @rule(
        target=hosts,
        cpus=st.integers(1, 4),
        gpus=st.integers(0, 3),
        network=st.sampled_from([None, "x", "y"]),
        backend=st.sampled_from(["a", "b", "c"]),
        price=st.sampled_from([None, 0.0, 1.0, 3.0]),
    )
    def join(self, cpus: int, gpus: int, network: str | None, backend: str, price: float | None) -> HostId:
        return self._join(cpus, gpus, network, backend, price)

    def _join(self, cpus: int, gpus: int, network: str | None, backend: str = "a", price: float | None = 2.0) -> HostId:
        self.joined += 1
        name = f"host{self.joined}"
        # Every third is only there for a while: forgotten when it is lost.
        facts = HostFacts(backend=backend, network=network, price_per_hour=price, ephemeral=self.joined % 3 == 0)
        return self.world.add_host(name, watched(gpus, name, cpus), facts).id

    @rule(
        target=jobs,
        nodes=st.integers(1, 5),
        placement=st.sampled_from(Placement),
        cpus=st.integers(1, 4),
        gpus=st.integers(0, 2),
        criteria=st.sampled_from(StopCriteria),
        policy=st.none() | st.builds(RetryPolicy, attempts=st.integers(1, 3)),
        failure=st.sampled_from(OnNodeFailure),
        spares=st.integers(0, 2),
        priority=st.sampled_from([0, 0, 5, 9]),
        preemptible=st.booleans(),
        most=st.sampled_from([None, 30.0, 300.0]),
        redundancy=st.integers(1, 3),
        budget=st.sampled_from([None, None, 0.01, 0.2]),
        disconnect=st.builds(OnDisconnect, st.sampled_from(DisconnectAction), st.sampled_from([None, None, 60.0])),
        limit=st.none() | st.integers(1, 3),
        schedule=st.sampled_from([None, None, None, "*/5 * * * *"]),
    )
    def submit(
        self,
        nodes: int,
        placement: Placement,
        cpus: int,
        gpus: int,
        criteria: StopCriteria,
        policy: RetryPolicy | None,
        failure: OnNodeFailure,
        spares: int,
        priority: int,
        preemptible: bool,
        most: float | None,
        redundancy: int,
        disconnect: OnDisconnect,
        budget: float | None,
        limit: int | None,
        schedule: str | None,
    ) -> JobId:
        gpu = GpuRequest(count=Range(gpus, gpus)) if gpus else None
        resources = Resources(cpus=Range(cpus), gpu=gpu)
        spec = JobSpec(
            argv=("x",),
            nodes=nodes,
            placement=placement,
            resources=resources,
            stop_criteria=criteria,
            retry=policy,
            on_node_failure=failure,
            spares=spares if placement is Placement.CLUSTER else 0,
            priority=priority,
            preemptible=preemptible,
            max_duration=most,
            on_disconnect=disconnect,
            budget=budget,
            redundancy=redundancy if placement is Placement.ANY else 1,
            max_running=limit if placement is Placement.ANY else None,
            schedule=schedule,
        )
        return self.world.submit(spec).id

    @rule(target=jobs, others=st.lists(jobs, min_size=1, max_size=3), when=st.sampled_from(AfterWhen))
    def submit_after(self, others: list[JobId], when: AfterWhen) -> JobId:
        after = tuple(Dependency(other, when) for other in others)
        return self.world.submit(JobSpec(argv=("x",), placement=Placement.ANY, after=after)).id

    @rule(job=jobs, failed=st.booleans())
    def retry(self, job: JobId, failed: bool) -> None:
        try:
            self.world.post(RetryRequested(job, "ann", failed))
        except Refused:
            return

    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        held = [a for a in self.world.held() if a.host_id not in self.world.asleep]
        if held:
            self.world.obey(data.draw(st.sampled_from(held)))

    @rule(data=st.data(), code=st.sampled_from([0, 0, 0, 1, 3, 137]), cause=st.sampled_from(EndCause))
    def end(self, data: st.DataObject, code: int, cause: EndCause) -> None:
        held = [a for a in self.world.held() if a.host_id not in self.world.asleep]
        if held:
            self.world.end(data.draw(st.sampled_from(held)).id, code, cause)

    @rule(job=jobs, abort=st.booleans())
    def stop(self, job: JobId, abort: bool) -> None:
        self.world.post(StopRequested(job, "ann", abort=abort))

    @rule(host=hosts)
    def fall_asleep(self, host: HostId) -> None:
        self.world.asleep.add(host)

    @rule(host=hosts)
    def wake(self, host: HostId) -> None:
        self.world.asleep.discard(host)
        if host in self.world.state.hosts:
            self.world.open(host)

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 40.0, 150.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(host=hosts, seconds=st.sampled_from([0.0, 0.0, 10.0, 90.0]))
    def drain(self, host: HostId, seconds: float) -> None:
        if host in self.world.state.hosts:
            self.world.post(DrainRequested(host, seconds))

    @rule(host=hosts, seconds=st.sampled_from([0.0, 10.0]))
    def vacate(self, host: HostId, seconds: float) -> None:
        if host in self.world.state.hosts:
            self.world.post(VacateAsked(host, seconds, "it was told to"))

    @rule(host=hosts, idle=st.booleans())
    def leave(self, host: HostId, idle: bool) -> None:
        # Nobody in these histories sees what runs where but the core itself: a host that is idle is one that says so.
        try:
            self.world.post(HostLeft(host, idle, "it was told to"))
        except Refused:
            return

    @rule(host=hosts, cordoned=st.booleans())
    def cordon(self, host: HostId, cordoned: bool) -> None:
        if host in self.world.state.hosts:
            self.world.post(CordonRequested(host, cordoned))

    @rule(host=hosts, gone=st.booleans())
    def remove(self, host: HostId, gone: bool) -> None:
        try:
            self.world.post(RemovalRequested(host, gone, "ann"))
        except Refused:
            return

    @rule(one=hosts, other=hosts)
    def cut(self, one: HostId, other: HostId) -> None:
        hosts = self.world.state.hosts
        if one in hosts and other in hosts:
            self.world.cut ^= {(hosts[one].name, hosts[other].name)}

    @rule(
        host=hosts,
        gpu=st.sampled_from(["", "-0", "-1", "-2"]),
        sign=st.sampled_from(Sign),
        code=st.sampled_from([0, 1, 2, 31, 31, 45, 48, 64, 79, 94, 94, 119, 777]),
        data=st.data(),
    )
    def see(self, host: HostId, gpu: str, sign: Sign, code: int, data: st.DataObject) -> None:
        """Its agent sees something of a GPU's health, and says so twice."""
        known = self.world.state.hosts.get(host)
        if known is None or known.hardware is None or host in self.world.asleep:
            return
        held = data.draw(st.sampled_from(["", *(a.id for a in self.world.held())]))
        uuid = known.name + gpu if gpu else ""
        seen = Evidence(uuid, sign, code, allocation_id=held, sequence=of_host(self.world.state, host).sequence + 1)
        self.world.post(HostReported(host, known.epoch, evidence=(seen,)))
        health, last = self.world.state.health[host], self.world.state.last_event
        self.world.post(HostReported(host, known.epoch, evidence=(seen,)))
        assert (self.world.state.health[host], self.world.state.last_event) == (health, last)

    @rule(host=hosts, sign=st.none() | st.sampled_from(Sign), all_of_it=st.booleans())
    def find(self, host: HostId, sign: Sign | None, all_of_it: bool) -> None:
        """Something holds on the host or its first GPU, or nothing does any more."""
        known = self.world.state.hosts.get(host)
        if known is None or known.hardware is None or host in self.world.asleep:
            return
        holding = () if sign is None else (Condition(sign, 1),)
        gpus = known.hardware.gpus
        if all_of_it or not gpus:
            hardware = replace(known.hardware, conditions=holding)
        else:
            hardware = replace(known.hardware, gpus=(replace(gpus[0], conditions=holding), *gpus[1:]))
        self.world.post(HostReported(host, known.epoch, hardware=hardware))

    @rule(host=hosts, passed=st.booleans())
    def answer_tests(self, host: HostId, passed: bool) -> None:
        known = self.world.state.hosts.get(host)
        if known is None or host in self.world.asleep:
            return
        sign = Sign.TEST_PASSED if passed else Sign.TEST_FAILED
        for order in retests.orders(self.world.state, host):
            for gpu in order.gpus or ("",):
                sequence = of_host(self.world.state, host).sequence + 1
                seen = Evidence(gpu, sign, order.number, sequence=sequence)
                self.world.post(HostReported(host, known.epoch, evidence=(seen,)))

    @rule(host=hosts, gpu=st.sampled_from(["", "0", "1"]), kind=st.sampled_from(["quarantine", "release", "test"]))
    def care(self, host: HostId, gpu: str, kind: str) -> None:
        """A user does something about the host's GPUs."""
        made = {
            "quarantine": QuarantineRequested(host, gpu, "it is loud", "ann"),
            "release": ReleaseRequested(host, gpu, "ann"),
            "test": AskedForTest(host, gpu, "ann"),
        }
        try:
            self.world.post(made[kind])
        except Refused:
            return

    @rule(seconds=st.sampled_from([700.0, 2000.0, 4000.0]))
    def rests_end(self, seconds: float) -> None:
        """As long as it takes for a GPU's state to change by itself, in few steps."""
        for _ in range(2):
            self.world.now += seconds / 2
            self.world.beat()
            self.world.post(Ticked())

    @rule()
    def probe(self) -> None:
        self.world.probe_all()

    @rule()
    def restart(self) -> None:
        health, events = self.world.state.health, list(self.world.state.events)
        self.world.restart()
        assert (self.world.state.health, list(self.world.state.events)) == (health, events)

    @invariant()
    def holds(self) -> None:
        check_invariants(self.world.state)

    def teardown(self) -> None:
        self._end_the_faults()
        for job in list(self.world.state.jobs.values()):
            if job.spec.schedule or job.spec.after:
                self.world.post(StopRequested(job.id, "ann"))
        for _ in range(200):
            self.world.probe_all()
            live = [a for a in self.world.held() if not self._idle(a)]
            if not live and not self.world.state.resting:
                break
            if not live:
                self.world.advance(100.0)
            for allocation in live:
                if allocation.id in self.world.state.allocations:
                    self.world.obey(self.world.state.allocations[allocation.id])
                if allocation.id in self.world.state.allocations and self._runs(allocation.job_id):
                    self.world.end(allocation.id)
        waiting = [job for job in self.world.state.jobs.values() if not job.state.ended]
        for job in waiting:
            # What is left is wider than the fleet: with the faults gone nothing that could be placed still waits.
            assert not self.world.held(job.id)
            assert not self._has_room(job.spec), f"{job.id} could be placed, but waits"
            self.world.post(StopRequested(job.id, "ann"))
        assert all(job.state.ended for job in self.world.state.jobs.values())
        assert not self.world.state.allocations

    def _end_the_faults(self) -> None:
        self.world.cut.clear()
        self.world.asleep.clear()
        for host in list(self.world.state.hosts.values()):
            self.world.open(host.id)
            self.world.post(CordonRequested(host.id, cordoned=False))
        self.world.advance(1.0)
        assert all(host.state is HostState.ONLINE for host in self.world.state.hosts.values())

    def _idle(self, allocation: Allocation) -> bool:
        """Whether it is held with nothing on it: a spare, or kept for a gang that rests."""
        job = self.world.job(allocation.job_id)
        return is_spare(job.spec, allocation) or is_kept(job, allocation)

    def _has_room(self, spec: JobSpec) -> bool:
        """Whether a node of such a job, or its whole group, could be placed now."""
        state, need = self.world.state, needs.leading(spec).need
        if spec.placement is Placement.CLUSTER:
            return regroup.plan(state, spec) is not None
        return any(fit.room(host, state.usage[host.id], need, 1) for host in placement.usable_hosts(state, need))

    def _runs(self, job_id: JobId) -> bool:
        gang = self.world.state.gangs.get(job_id)
        return gang is None or gang.group is not None


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
