"""Random lives of a few gangs with spares: whoever did not fail stays where it was, whatever else happens."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator.core import fit
from coordinator.core.events import CordonRequested, DrainRequested, StopRequested
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import GangPhase, Phase
from coordinator.core.spares import is_spare
from coordinator.core.spec import JobSpec, RetryPolicy, Spread
from tests.fakes.world import World, hardware

HOSTS = 8


class Gangs(RuleBasedStateMachine):
    """Two gangs on one network of hosts that fail, are cordoned, lose each other and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.before: dict[JobId, tuple[int, dict[int, HostId]]] = {}

    @initialize(
        sizes=st.lists(
            st.tuples(st.integers(1, 4), st.integers(0, 2), st.sampled_from([0, 5])), min_size=1, max_size=2
        ),
        spread=st.sampled_from(Spread),
    )
    def begin(self, sizes: list[tuple[int, int, int]], spread: Spread) -> None:
        for number in range(HOSTS):
            self.world.add_host(f"h{number}", hardware(1 + number % 2, prefix=f"h{number}"))
        for nodes, spares, priority in sizes:
            retry = RetryPolicy()
            spec = JobSpec(argv=("x",), nodes=nodes, spares=spares, priority=priority, retry=retry, spread=spread)
            self.world.submit(spec)
        self.obey()

    # ------------------------------------------------------------ what happens

    @rule()
    def obey(self) -> None:
        """All hosts do what they are told, often enough for a group to be formed and to run."""
        for _ in range(3):
            self.world.probe_all()
            for allocation in self.world.held():
                known = self.world.state.allocations.get(allocation.id)
                if known is not None and known.host_id not in self.world.asleep:
                    self.world.obey(known)

    @rule(data=st.data())
    def obey_one(self, data: st.DataObject) -> None:
        held = [a for a in self.world.held() if a.host_id not in self.world.asleep]
        if held:
            self.world.obey(data.draw(st.sampled_from(held)))

    @rule(data=st.data(), back=st.booleans())
    def lose_a_host(self, data: st.DataObject, back: bool) -> None:
        """A host that works is lost, and may be back at once, before the others have stopped."""
        held = [a for a in self.world.held() if a.host_id not in self.world.asleep]
        if held:
            host = data.draw(st.sampled_from(held)).host_id
            self.world.asleep.add(host)
            self.world.advance(40.0)
            if back:
                self._wake(host)

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """A program fails, and the others are stopped; the gang rests."""
        running = [a for a in self.world.held() if a.observed is Phase.RUNNING and a.host_id not in self.world.asleep]
        if running:
            self.world.end(data.draw(st.sampled_from(running)).id, 1)

    @rule()
    def all_wake(self) -> None:
        for host in sorted(self.world.asleep):
            self._wake(host)

    def _wake(self, host: HostId) -> None:
        self.world.asleep.discard(host)
        self.world.open(host)
        self.world.probe_all()

    @rule(number=st.integers(1, HOSTS))
    def drain(self, number: int) -> None:
        self.world.post(DrainRequested(f"h-{number}"))

    @rule(number=st.integers(1, HOSTS), cordoned=st.booleans())
    def cordon(self, number: int, cordoned: bool) -> None:
        self.world.post(CordonRequested(f"h-{number}", cordoned))

    @rule(seconds=st.sampled_from([1.0, 10.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.world.restart()
        for host in tuple(self.world.state.hosts):
            if host not in self.world.asleep:
                self.world.open(host)
        self.world.probe_all()

    # ------------------------------------------------------------ what must hold

    @invariant()
    def survivors_stay(self) -> None:
        """Who did not fail has the same host in the next generation, unless the host can't take part."""
        for job in self.world.state.jobs.values():
            members = {a.rank: a.host_id for a in self.world.held(job.id) if not is_spare(job.spec, a)}
            generation, before = self.before.get(job.id, (0, {}))
            self.before[job.id] = (job.generation, members)
            if job.generation == generation + 1 and len(members) == job.spec.nodes:
                moved = [host for rank, host in before.items() if members[rank] != host]
                assert not [h for h in moved if h in members.values()], "a host changed its rank"
                # A gang that could not be formed for a while has given its places up: others may have taken them.
                strays = [h for h in moved if h not in job.avoids and self._usable(h) and not self._taken(h, job.spec)]
                assert not strays or not self._all_probed(), f"{job.id}: {before} -> {members}, strays: {strays}"

    @invariant()
    def whoever_waits_could_not_be_placed(self) -> None:
        """A gang waits in the queue, or rests, only when there is no group, or it is not yet known who reaches whom."""
        for job in self.world.state.jobs.values():
            if job.state.ended or job.id in self.world.state.gangs or job.id in self.world.state.resting:
                continue
            room = len(self._with_room(job.spec))
            assert room < job.spec.nodes or not self._all_probed(), f"{job.id} waits, but {room} hosts are free"

    def _with_room(self, spec: JobSpec) -> list[HostId]:
        usage, hosts, need = self.world.state.usage, self.world.state.hosts.values(), fit.Need.of(spec.resources)
        return [h.id for h in hosts if self._usable(h.id) and fit.not_now(h, usage[h.id], need) is None]

    def _taken(self, host: HostId, spec: JobSpec) -> bool:
        state = self.world.state
        return fit.not_now(state.hosts[host], state.usage[host], fit.Need.of(spec.resources)) is not None

    def _usable(self, host: HostId) -> bool:
        return fit.unusable(self.world.state.hosts[host]) is None

    def _all_probed(self) -> bool:
        usable = {host for host in self.world.state.hosts if self._usable(host)}
        return all(usable - {host} <= self.world.state.reach.neighbours(host) for host in usable)

    def teardown(self) -> None:
        """Once the faults stop every gang runs, with as many of its spares as fit, and ends when it is told to."""
        if not self.world.state.hosts:
            return
        for host in self.world.state.hosts:
            self.world.post(CordonRequested(host, cordoned=False))
        self.all_wake()
        for _ in range(4):
            self.obey()
            self.world.advance(80.0)
        self.obey()
        for job in tuple(self.world.state.jobs.values()):
            gang = self.world.state.gangs.get(job.id)
            assert gang is not None, f"{job.id} is {job.state.value}: {job.reason}"
            assert gang.phase is GangPhase.RUNNING
            held = {a.host_id for a in self.world.held(job.id)}
            free = [host for host in self._with_room(job.spec) if host not in held]
            assert len(held) == job.spec.nodes + job.spec.spares or not free
        for job in tuple(self.world.state.jobs.values()):
            self.world.post(StopRequested(job.id, "ann"))
        self.obey()
        assert not self.world.held()


TestGangs = Gangs.TestCase
TestGangs.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
