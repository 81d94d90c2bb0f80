"""The agent's daemon of a history: the production `Work` on a virtual loop, the rules of `agent.session.contact` and
`agent.runner` around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from rallypoint.v1 import agent_service_pb2 as pb

from agent.core.model import Desired, Measured, Measurement, Member, Observed, PairSpeed, Phase, Probe
from agent.session import convert
from agent.session.contact import SessionTimes, report_limit
from agent.work import Tools, Work
from coordinator.core.errors import HostForgotten
from coordinator.core.events import HostReported, SessionOpened
from coordinator.rpc.orders import all_probes, statuses_from_proto
from tests.sim.clock import Process, Timer
from tests.sim.files import Archives
from tests.sim.network import Contact, Stream
from tests.sim.output import Publisher
from tests.sim.tools import Nodes, Places, Ports

if TYPE_CHECKING:
    from agent.spawner.wire import Message
    from tests.sim.host import Host
    from tests.sim.spawner import Spawner


# The daemon waits so long at most for what it stopped, before it leaves for good.
LEAVE_SECONDS = 15.0


class Agent:
    """One life of the daemon."""

    publishing: type[Publisher] = Publisher

    def __init__(self, host: Host) -> None:
        self.host = host
        self.world = host.world
        self.process = Process(f"{host.name} agent", self.world.clock, host.rate)
        self.archives = Archives(self, self.world.folder / host.name)
        self.work: Work = self.world.parts.work(self._tools(), self._changed)
        self._times = SessionTimes()
        self._orders: list[Message] = []
        self._spawner: Spawner | None = None
        self.contact: Contact | None = None
        self._failures = 0
        self._news = False
        self._soon: Timer | None = None
        self._probes: list[Probe] = []
        self.publisher = self.publishing(self)
        self._greeted = False
        self._connect()

    def die(self) -> None:
        """The process is gone; the coordinator's end of its stream breaks."""
        self.process.kill()
        if self.contact is not None:
            self.contact.stream.close()

    def _tools(self) -> Tools:
        places, nodes, ports, archives = (
            cast(Any, part) for part in (Places(self.host.files), Nodes(), Ports(), self.archives)
        )
        send, probe, measure = self._send, self._probe, self._measure
        return Tools(places, nodes, ports, archives, send, probe, measure, self.host.now, self.host.wall)

    def _after(self, seconds: float, call: Any, *args: Any) -> Timer:
        return self.world.clock.after(seconds, self.process, call, *args)

    # --- the spawner --------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._after(0.05, lambda: self.host.start_spawner().accept(self))

    def spawner_lost(self) -> None:
        """The spawner died: start another."""
        self._spawner = None
        self._after(0.02, self._connect)

    def hear(self, spawner: Spawner, news: list[Message]) -> None:
        """News of the spawner; the first is its snapshot."""
        if spawner is not self.host.spawner:
            return
        if news[0]["ev"] == "snapshot":
            self._spawner = spawner
        self.work.hear(news)
        self.publisher.wake()
        if not self._greeted:
            self._greeted = True
            self._open()

    def _send(self, order: Message) -> None:
        if not self._orders:
            self._after(0.0, self._flush)
        self._orders.append(order)

    def _flush(self) -> None:
        orders, self._orders = self._orders, []
        if self._spawner is not None:
            self.world.clock.after(0.0005, self._spawner.process, self._spawner.obey, orders)

    # --- sessions -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        stream = Stream(self.world.network, self.host.link, self.process, lambda message: self._take(contact, message))
        contact = self.contact = Contact(stream, self.host.now())
        contact.limit = self._after(self._times.answer, self._lost, contact)
        hardware = self.host.hardware()
        event = SessionOpened(self.host.id, self.host.facts, hardware, self.host.peer, "sim", queues=self.work.queues)
        self.world.call_up(self.host.link, self._deliver_open, event, contact)

    def _deliver_open(self, event: SessionOpened, contact: Contact) -> None:
        if self.world.coordinator is None or contact.stream.closed:
            self._answer(self._lost, contact)
            return
        contact.stream.server = self.world.coordinator
        self.world.coordinator.open_session(
            event, contact.stream, lambda error: self._answer(self._failed, contact, error)
        )

    def _answer(self, call: Any, *args: Any) -> None:
        self.world.network.down(self.host.link, self.process, call, *args)

    def _take(self, contact: Contact, message: pb.OpenSessionResponse | None) -> None:
        if contact is not self.contact or contact.over:
            return
        if message is None:
            self._lost(contact)
        elif message.HasField("welcome"):
            self._welcome(contact, message.welcome)
        elif message.HasField("desired"):
            update = convert.desired_update(message.desired)
            wanted = [f"{a.id}={a.phase.name}" for a in update.allocations]
            self.world.trace(self.host.name, "is to", "do only" * update.complete, *wanted, "without", *update.removed)
            self.work.want(update)
        elif message.HasField("test"):
            self.host.test(message.test.gpu_uuids, message.test.number)
        elif message.HasField("probe"):
            targets = convert.members(message.probe.targets)
            self._probe(targets).add_done_callback(lambda done: self._probed(done.result()))

    def _welcome(self, contact: Contact, welcome: pb.Welcome) -> None:
        contact.epoch, contact.opened = welcome.epoch, True
        self.world.trace(self.host.name, "opens session", welcome.epoch)
        self._failures = 0
        if contact.limit is not None:
            contact.limit.cancel()
        self.work.begin(contact.sent_at, welcome.lease_seconds, welcome.lease_grace_seconds)
        self.publisher.wake()
        self._report(contact, complete=True)

    def _failed(self, contact: Contact, error: Exception) -> None:
        if isinstance(error, HostForgotten) and not contact.over:
            self._leave_for_good(contact, str(error))
        else:
            self._lost(contact)

    def _leave_for_good(self, contact: Contact, reason: str) -> None:
        """The daemon's `Refused`: all work is stopped, and no agent is started again."""
        self.world.trace(self.host.name, "is told that it was removed")
        self.world.ledger.removed(self.host.id)
        contact.over = True
        contact.stream.close()
        self.host.removed = True
        self.work.stop_everything(reason)
        self._after(LEAVE_SECONDS, self.host.kill_agent)

    def _lost(self, contact: Contact) -> None:
        if contact.over:
            return
        self.world.trace(self.host.name, "loses its session", contact.epoch or "")
        contact.over = True
        contact.stream.close()
        self.publisher.cut()
        self.archives.cut()
        for timer in (contact.heartbeat, contact.limit):
            if timer is not None:
                timer.cancel()
        self._failures += 1
        longest = min(self._times.longest_backoff, self._times.first_backoff * 2.0 ** min(self._failures, 10))
        self._after(longest * self.world.random.uniform(0.3, 1.0), self._open)

    def coordinator_lost(self, server: object) -> None:
        """The process at the other end died: its machine sends what is left, and ends the connection."""
        contact = self.contact
        if contact is not None and contact.stream.server is server:
            contact.stream.send(None)

    # --- reports ------------------------------------------------------------------------------------------------

    def _changed(self, urgent: bool) -> None:
        self._wake(urgent)
        self.publisher.wake()

    def _wake(self, urgent: bool = True) -> None:
        if urgent:
            self._news = True
            self._report_if_idle()
        elif self._soon is None and not self._news:
            self._soon = self._after(self._times.gather, self._wake)

    def _report_if_idle(self) -> None:
        contact = self.contact
        if contact is not None and contact.opened and not contact.over and contact.call is None:
            # Later in this moment: what else happens now goes along.
            contact.call = self
            self._after(0.0, self._report, contact, False)

    def _beat(self, contact: Contact) -> None:
        if contact.call is None and not contact.over:
            self._report(contact, complete=False)

    def _report(self, contact: Contact, complete: bool) -> None:
        if contact.over:
            return
        self._news = False
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if contact.heartbeat is not None:
            contact.heartbeat.cancel()
        statuses = self.work.everything() if complete else self.work.unreported(1000)
        probes, self._probes = self._probes, []
        call = contact.call = object()
        limit = report_limit(self._times, self.world.timing.lease)
        contact.limit = self._after(limit, self._unanswered, contact, probes)
        event = self._reported(contact.epoch, statuses, probes)
        sent_at = self.host.now()
        self.world.call_up(self.host.link, self._deliver_report, event, contact, call, statuses, sent_at, probes)

    def _reported(
        self, epoch: int, statuses: Sequence[Observed], probes: Sequence[Probe], goodbye: bool = False
    ) -> HostReported:
        evidence = tuple(self.host.evidence)
        if not statuses and not probes:
            return HostReported(self.host.id, epoch, goodbye=goodbye, evidence=evidence)
        for told in statuses:
            if told.phase is Phase.PREPARED:
                self.world.ledger.prepared(told.id)
        found = [convert.status(told, self.host.now(), self.host.wall()) for told in statuses]
        request = pb.ReportRequest(epoch=epoch, statuses=found, probes=[convert.probe(p) for p in probes])
        seen = statuses_from_proto(request.statuses, self.world.wall())
        reached = all_probes(self.host.id, request)
        return HostReported(self.host.id, epoch, seen, reached, goodbye=goodbye, evidence=evidence)

    def _deliver_report(self, event: HostReported, contact: Contact, call: object, *sent: Any) -> None:
        if self.world.coordinator is None:
            return

        told = max((seen.sequence for seen in event.evidence), default=0)

        def answered(answer: Any) -> None:
            self._answer(self._answered, contact, call, answer, told, *sent)

        self.world.coordinator.post(event, answered)

    def _answered(
        self,
        contact: Contact,
        call: object,
        lease: Any,
        told: int,
        statuses: Sequence[Observed],
        sent_at: float,
        probes: list[Probe],
    ) -> None:
        if contact.call is not call or contact.over:
            return
        if isinstance(lease, HostForgotten):
            self._leave_for_good(contact, str(lease))
            return
        if isinstance(lease, Exception):
            self._unanswered(contact, probes)
            return
        if contact.limit is not None:
            contact.limit.cancel()
        contact.call = None
        if not self.work.renew(sent_at, lease, self.world.timing.lease_grace):
            self._lost(contact)
            return
        self.world.ledger.acknowledged(statuses)
        self.work.acknowledge(statuses)
        self.host.evidence = [seen for seen in self.host.evidence if seen.sequence > told]
        jitter = self.world.random.uniform(0.85, 1.0)
        contact.heartbeat = self._after(self.world.timing.heartbeat * jitter, self._beat, contact)
        if self._probes or self._news:
            self._wake()
        elif self.work.unreported(1):
            self._wake(self.work.urgent())

    def _unanswered(self, contact: Contact, probes: list[Probe]) -> None:
        if not contact.over:
            self._probes = probes + self._probes
            self._lost(contact)

    def goodbye(self) -> None:
        """Leave on purpose: the last report says so."""
        contact = self.contact
        if contact is not None and contact.opened and not contact.over:
            event = self._reported(contact.epoch, self.work.unreported(1000), (), goodbye=True)
            self.world.call_up(self.host.link, self._deliver_report, event, contact, object(), (), 0.0, [])

    # --- probes -----------------------------------------------------------------------------------------------

    def _probe(self, members: Sequence[Member]) -> asyncio.Future[list[Probe]]:
        assert self.process.loop is not None
        done = self.process.loop.create_future()
        self._after(self.world.random.uniform(0.005, 0.05), self._look_around, members, done)
        return done

    def _look_around(self, members: Sequence[Member], done: asyncio.Future[list[Probe]]) -> None:
        if not done.done():
            done.set_result([self.world.reach(self.host, member) for member in members])

    def _measure(self, desired: Desired) -> asyncio.Future[Measured]:
        """Takes a while, as on a network; of hosts that do not reach each other it says so."""
        assert self.process.loop is not None
        order = desired.measures
        assert order is not None
        done = self.process.loop.create_future()
        self._after(2 * order.seconds, self._find, order, done)
        return done

    def _find(self, order: Measurement, done: asyncio.Future[Measured]) -> None:
        if done.done():
            return
        if order.peer is None:
            done.set_result(Measured(order.number, "no torch", unable=True))
            return
        peer = Member(order.peer.host_id, order.peer.host_name, 0, (order.peer.address,), order.peer.peer_port)
        probe = self.world.reach(self.host, peer)
        pair = PairSpeed(0.0001, 1e10, 1e10) if probe.reached else None
        done.set_result(Measured(order.number, probe.reason, pair))

    def _probed(self, probes: list[Probe]) -> None:
        self._probes += probes
        self._wake()
