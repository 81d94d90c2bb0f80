"""The coordinator of a history: the turns of `coordinator.engine` around the production core, without its asyncio.

A turn takes all that arrived, is decided in memory, then committed, then told, then answered; it can die between any
two of these. Sessions are the production hub's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rallypoint.v1 import agent_service_pb2 as pb

from agent.core.model import AllocationId as AgentAllocationId
from agent.core.outflow import Position
from coordinator.core import retests
from coordinator.core.changes import VOLATILE, DeadlineSet
from coordinator.core.decide import next_deadline, settle
from coordinator.core.desired import Desired, desired_of
from coordinator.core.effects import DesiredChanged, Effect, ProbesWanted, SessionSuperseded, TestWanted
from coordinator.core.errors import Refused
from coordinator.core.events import CoordinatorStarted, Event, HostReported, SessionOpened, Ticked
from coordinator.core.ids import AllocationId, HostId
from coordinator.core.invariants import check_invariants
from coordinator.core.model import Host, Instant
from coordinator.core.restore import Records, carry_over, restore
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.logfiles import Chunk, LogFiles
from coordinator.rpc.agent_service import _known_outputs
from coordinator.rpc.hub import Hub, Session
from coordinator.rpc.orders import SpecCache, member_to_proto, orders_to_proto
from tests.fakes.memory_store import MemoryStore
from tests.sim.clock import Process, Timer

if TYPE_CHECKING:
    from tests.sim.network import Stream
    from tests.sim.world import World

# Where a turn can die, and where an append.
BEFORE_COMMIT, AFTER_COMMIT, AFTER_EFFECTS = "before commit", "after commit", "after effects"
BEFORE_APPEND, AFTER_APPEND = "before append", "after append"

Reply = Callable[[Any], None]


class Failed(Exception):
    """The coordinator could not commit."""


class Coordinator:
    """One life of the coordinator's process, from the disk that the last one left."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process("coordinator", world.clock)
        self.hub = Hub(lambda seconds, call: world.clock.after(seconds, self.process, call))
        self.state = State(world.timing)
        self.doomed = ""
        self._store = MemoryStore(world.disk)
        self.logs = LogFiles(world.logs, world.log_limit)
        self._specs = SpecCache()
        self._inbox: list[tuple[Event | Callable[[State], Any], Reply]] = []
        self._busy = False
        self._heard: list[str] = []
        self._due: float | None = None
        self._timer: Timer | None = None
        self._served_from = (world.disk.served or world.wall()) - world.clock.now
        self._load()
        self._due = next_deadline(self.state)
        self._wake()

    # --- as seen from the network -------------------------------------------------------------------------------

    def post(self, event: Event, reply: Reply) -> None:
        """Have an event decided; ``reply`` gets the answer, or the error."""
        self._inbox.append((event, reply))
        self._wake()

    def open_session(self, event: SessionOpened, stream: Stream, refused: Reply) -> None:
        """Begin a session: what is wanted goes down ``stream``."""

        def opened(answer: Any) -> None:
            if isinstance(answer, Exception):
                refused(answer)
                return
            self._inbox.append(
                (lambda state: self._begin(state, answer), lambda session: self._serve(answer, session, stream))
            )
            self._wake()

        self.post(event, opened)

    def publish(self, host_id: HostId, chunks: Sequence[Chunk], reply: Reply) -> None:
        """Append output; ``reply`` gets the positions, or the error."""
        ids = [chunk.allocation_id for chunk in chunks]

        def look(state: State) -> None:
            known = _known_outputs(state, host_id, list(ids))
            seconds = self.world.commit_seconds()
            self.world.clock.after(seconds, self.process, self._append, chunks, known, reply)

        self._inbox.append((look, lambda _: None))
        self._wake()

    def _append(self, chunks: Sequence[Chunk], known: set[str], reply: Reply) -> None:
        if self.world.clock.now < self.world.disk_state.full_until:
            reply(Failed("the disk is full"))
            return
        if self._dies(BEFORE_APPEND):
            return
        offsets = self.logs.append([chunk for chunk in chunks if chunk.allocation_id in known])
        if self._dies(AFTER_APPEND):
            return
        positions = [Position(AgentAllocationId(key), offset) for key, offset in offsets.items()]
        unknown = dict.fromkeys(chunk.allocation_id for chunk in chunks if chunk.allocation_id not in known)
        reply([*positions, *(Position(AgentAllocationId(key), 0, True) for key in unknown)])

    def _begin(self, state: State, host: Host) -> Session:
        held = state.usage[host.id].allocations if host.id in state.usage else set()
        orders = [(a, order) for a in sorted(held) if (order := desired_of(state, a)) is not None]
        session = self.hub.open(host.id, host.epoch, orders)
        for test in retests.orders(state, host.id):
            session.test(test)
        return session

    def _serve(self, host: Host, session: Session, stream: Stream) -> None:
        assert self.process.loop is not None
        self.process.loop.create_task(self._follow(host, session, stream))

    async def _follow(self, host: Host, session: Session, stream: Stream) -> None:
        timing = self.world.timing
        welcome = pb.Welcome(
            epoch=host.epoch,
            host_id=host.id,
            heartbeat_seconds=timing.heartbeat,
            lease_seconds=timing.lease,
            lease_grace_seconds=timing.lease_grace,
        )
        stream.send(pb.OpenSessionResponse(welcome=welcome))
        session.begin()
        revision = 0
        while not stream.closed:
            orders, probes, _, _, tests = await session.take()
            if session.closed:
                break
            if orders or revision == 0:
                revision += 1
                stream.send(pb.OpenSessionResponse(desired=self._desired(orders, revision)))
            if probes:
                stream.send(pb.OpenSessionResponse(probe=pb.ProbeOrder(targets=[member_to_proto(h) for h in probes])))
            for test in tests:
                stream.send(pb.OpenSessionResponse(test=pb.TestOrder(gpu_uuids=test.gpus, number=test.number)))
        self.hub.leave(host.id, session)
        stream.send(None)

    def _desired(self, orders: dict[AllocationId, Desired | None], revision: int) -> pb.DesiredState:
        wanted = (order for order in orders.values() if order is not None)
        message = orders_to_proto(wanted, self._specs, together=True)
        message.revision, message.complete = revision, revision == 1
        message.removed_allocation_ids.extend(allocation for allocation, order in orders.items() if order is None)
        return message

    # --- turns --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._busy:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inbox or self.state.planning.unfinished:
            self._busy = True
            self.world.clock.after(0.0, self.process, self._take_turn)
        elif self._due is not None:
            self._timer = self.world.clock.after(
                max(0.0, self._due - self.world.clock.now), self.process, self._take_turn
            )

    def _take_turn(self) -> None:
        self._busy = True
        batch, self._inbox = self._inbox, []
        for item, reply in batch:
            if callable(item):
                reply(item(self.state))
        posted = [(item, reply) for item, reply in batch if not callable(item)]
        turn = Turn(self.state, self._now())
        answers: list[tuple[Reply, Any]] = []
        self._decide(turn, posted, answers)
        check_invariants(self.state)
        self.decided(turn, posted, answers)

    def _decide(self, turn: Turn, posted: list[tuple[Any, Reply]], answers: list[tuple[Reply, Any]]) -> None:
        for event, reply in posted:
            try:
                answers.append((reply, self.world.parts.decide(turn, event)))
            except Refused as refusal:
                answers.append((reply, refusal))
            else:
                if isinstance(event, HostReported | SessionOpened):
                    self._heard.append(event.host_id)
        if self._due is not None and turn.at.mono >= self._due:
            self.world.parts.decide(turn, Ticked())
        settle(turn)
        earliest = [c.at for c in turn.changes if isinstance(c, DeadlineSet) and c.at is not None]
        if self._due is None or turn.at.mono >= self._due:
            self._due = next_deadline(turn.state)
        elif earliest:
            self._due = min(self._due, *earliest)

    def decided(self, turn: Turn, posted: list[tuple[Any, Reply]], answers: list[tuple[Reply, Any]]) -> None:
        """What follows a decision: commit, then tell, then answer."""
        durable = [c for c in turn.changes if not isinstance(c, VOLATILE)]
        if not durable:
            self.tell(turn.effects)
            self.answer(answers)
            return
        if self._dies(BEFORE_COMMIT):
            return
        self.world.clock.after(self.world.commit_seconds(), self.process, self.commit, turn, durable, posted, answers)

    def commit(
        self, turn: Turn, durable: list[Any], posted: list[tuple[Any, Reply]], answers: list[tuple[Reply, Any]]
    ) -> None:
        """Bring the changes to the disk, and go on as far as fate lets."""
        if self.world.clock.now < self.world.disk_state.full_until:
            self.world.trace("coordinator: a commit fails")
            self._start_over(posted)
            return
        self._store.commit(durable)
        self.world.tell_changes(durable)
        self.world.ledger.committed(durable, self._heard)
        if self._dies(AFTER_COMMIT):
            return
        self.tell(turn.effects)
        if self._dies(AFTER_EFFECTS):
            return
        self.answer(answers)

    def answer(self, answers: list[tuple[Reply, Any]]) -> None:
        """Answer the callers; the turn is over."""
        for host in self._heard:
            self.world.ledger.heard(host)
        self._heard.clear()
        for reply, answer in answers:
            reply(answer)
        self._busy = False
        self._wake()

    def tell(self, effects: list[Effect]) -> None:
        """Pass orders on to the sessions, as the engine does."""
        told: set[AllocationId] = set()
        for effect in reversed(effects):
            if isinstance(effect, DesiredChanged) and effect.allocation_id not in told:
                told.add(effect.allocation_id)
                self.hub.desired(effect.host_id, effect.allocation_id, desired_of(self.state, effect.allocation_id))
        for effect in effects:
            if isinstance(effect, ProbesWanted):
                hosts = tuple(self.state.hosts[t] for t in effect.targets if t in self.state.hosts)
                self.hub.probe(effect.host_id, hosts)
            elif isinstance(effect, TestWanted):
                self.hub.test(effect)
            elif isinstance(effect, SessionSuperseded):
                self.hub.supersede(effect.host_id, effect.epoch)

    # --- disk ---------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        loaded = self._store.load()
        records = Records(
            jobs=loaded.jobs,
            nodes=loaded.nodes,
            allocations=loaded.allocations,
            gangs=loaded.gangs,
            hosts=loaded.hosts,
            costs=loaded.costs,
            health=loaded.health,
            events=loaded.events,
            last_job_number=loaded.counters.jobs,
            last_host_number=loaded.counters.hosts,
            served=loaded.counters.served,
        )
        self.state = restore(records, self.world.timing)
        self.world.parts.decide(Turn(self.state, self._now()), CoordinatorStarted())

    def _start_over(self, posted: list[tuple[Any, Reply]]) -> None:
        self._heard.clear()
        half_done = self.state
        self._load()
        carry_over(half_done, self.state)
        self._due = next_deadline(self.state)
        for _, reply in posted:
            reply(Failed("the disk failed"))
        self._busy = False
        self._wake()

    def _dies(self, point: str) -> bool:
        if self.doomed != point:
            return False
        self.world.kill_coordinator()
        return True

    def _now(self) -> Instant:
        now = self.world.clock.now
        return Instant(now, self.world.wall(), now + self._served_from)
