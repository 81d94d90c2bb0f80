"""AgentService: sessions, reports, logs, archives and certificates of hosts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from rallypoint.failpoints import reach
from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1 import agent_service_pb2_grpc as pb_grpc
from rallypoint.version import PROTOCOL_VERSION

from coordinator.access.ca import Authority
from coordinator.archives import ArchiveStore
from coordinator.core import retests
from coordinator.core.desired import Desired, desired_of
from coordinator.core.errors import Conflict, HostForgotten, NotFound
from coordinator.core.events import HostLeft, HostReported, SessionOpened, VacateAsked
from coordinator.core.health_book import of_host
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.model import Host, HostState, PeerEndpoint
from coordinator.core.state import State, Timing
from coordinator.core.upgrades import order_for
from coordinator.engine import Engine
from coordinator.logfiles import Chunk
from coordinator.logstore import LogStore
from coordinator.own_wheel import OwnWheel
from coordinator.rpc import skew
from coordinator.rpc.answering import answering
from coordinator.rpc.convert import facts_from_proto
from coordinator.rpc.hardware import hardware_from_proto
from coordinator.rpc.health import evidence_from_proto
from coordinator.rpc.hub import Hub, Session
from coordinator.rpc.identity import calling_host_id
from coordinator.rpc.limits import check_drain_seconds, one_line
from coordinator.rpc.orders import (
    SpecCache,
    all_probes,
    distances_from_proto,
    member_to_proto,
    orders_to_proto,
    statuses_from_proto,
    upgrade_from_proto,
    upgrade_to_proto,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AgentParts:
    """What the service works with. ``certificate_life`` in seconds; ``coordinators`` are addresses for agents.

    ``wheel`` is what hosts are upgraded to.
    """

    engine: Engine
    hub: Hub
    logs: LogStore
    archives: ArchiveStore
    authority: Authority
    timing: Timing
    certificate_life: float
    wheel: Callable[[], Awaitable[OwnWheel]]
    coordinators: Callable[[], Sequence[str]] = tuple


class AgentService(pb_grpc.AgentServiceServicer):
    """What agents call."""

    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        self._specs = SpecCache()

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> AsyncIterator[pb.OpenSessionResponse]:
        """A Welcome, the complete desired state, then changes to it."""
        host_id = calling_host_id()
        why_drained = skew.drained(host_id, request)
        await self._refuse_second(host_id, request.instance_id)
        opened = SessionOpened(
            host_id=host_id,
            facts=facts_from_proto(request.facts),
            hardware=hardware_from_proto(request.hardware),
            peer=PeerEndpoint(tuple(request.peer.addresses), request.peer.port),
            agent_version=request.agent_version,
            drained=why_drained,
            queues=request.queues,
            build=request.build,
            leaving=request.leaving,
        )
        host: Host = await self._parts.engine.post(opened)
        where = f"{request.hardware.hostname} ({context.peer()})"
        session = await self._parts.engine.read(
            lambda state: self._begin(state, host, instance=request.instance_id, where=where)
        )
        log.info("session.opened", host=host.name, id=host_id, epoch=host.epoch, peer=context.peer())
        try:
            sequence = await self._parts.engine.read(lambda state: of_host(state, host_id).sequence)
            yield self._welcome(host, sequence)
            async for response in self._orders(session, request.queues):
                yield response
        finally:
            self._parts.hub.leave(host_id, session)
            log.info("session.closed", host=host.name, id=host_id, epoch=host.epoch)

    async def _refuse_second(self, host_id: HostId, instance: str) -> None:
        """One identity on two machines would run everything twice: the first in contact keeps it.

        Raises Conflict. The same agent, come back while its old stream still looks alive, is let in; another one is
        once the first has not been heard of for long enough to be suspect.
        """
        session = self._parts.hub.session(host_id)
        if session is None or session.instance == instance:
            return
        host = await self._parts.engine.read(lambda state: state.hosts.get(host_id))
        if host is not None and host.state is HostState.ONLINE:
            raise Conflict(
                f"host {host.name!r} is in contact already, from {session.where}: its identity is in use on two "
                "machines, or its last agent ended a moment ago; give each machine an identity of its own (agent join)"
            )

    def _begin(self, state: State, host: Host, instance: str, where: str) -> Session:
        held = state.usage[host.id].allocations if host.id in state.usage else set()
        orders = [(a, order) for a in sorted(held) if (order := desired_of(state, a)) is not None]
        session = self._parts.hub.open(host.id, host.epoch, orders, instance, where)
        upgrade = order_for(state, host.id)
        if upgrade is not None:
            session.upgrade(upgrade)
        for test in retests.orders(state, host.id):
            session.test(test)
        return session

    def _welcome(self, host: Host, health_sequence: int) -> pb.OpenSessionResponse:
        timing = self._parts.timing
        welcome = pb.Welcome(
            epoch=host.epoch,
            host_id=host.id,
            host_name=host.name,
            heartbeat_seconds=timing.heartbeat,
            lease_seconds=timing.lease,
            lease_grace_seconds=timing.lease_grace,
            protocol_version=PROTOCOL_VERSION,
            drained=host.drained,
            health_sequence=health_sequence,
        )
        return pb.OpenSessionResponse(welcome=welcome)

    async def _orders(self, session: Session, together: bool) -> AsyncIterator[pb.OpenSessionResponse]:
        revision = 0
        # The first message is complete even when it is empty: it tells what is *not* wanted any more.
        session.begin()
        while True:
            orders, probes, targets, upgrade, tests = await session.take()
            if session.closed:
                return
            if orders or revision == 0:
                revision += 1
                reach("coordinator.before-send")
                yield pb.OpenSessionResponse(desired=self._desired(orders, revision, together))
                reach("coordinator.after-send")
            if probes:
                yield pb.OpenSessionResponse(probe=pb.ProbeOrder(targets=[member_to_proto(h) for h in probes]))
            if targets:
                yield pb.OpenSessionResponse(measure=pb.MeasureOrder(targets=targets))
            if upgrade is not None:
                yield pb.OpenSessionResponse(upgrade=upgrade_to_proto(upgrade))
            for test in tests:
                yield pb.OpenSessionResponse(test=pb.TestOrder(gpu_uuids=test.gpus, number=test.number))

    def _desired(self, orders: dict[AllocationId, Desired | None], revision: int, together: bool) -> pb.DesiredState:
        wanted = (order for order in orders.values() if order is not None)
        message = orders_to_proto(wanted, self._specs, together)
        message.revision, message.complete = revision, revision == 1
        message.removed_allocation_ids.extend(allocation for allocation, order in orders.items() if order is None)
        return message

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
        """Heartbeat, statuses and lease in one."""
        host_id = calling_host_id()
        reported = HostReported(
            host_id=host_id,
            epoch=request.epoch,
            statuses=statuses_from_proto(request.statuses, time.time()),
            probes=all_probes(host_id, request),
            hardware=hardware_from_proto(request.hardware) if request.HasField("hardware") else None,
            goodbye=request.goodbye,
            distances=distances_from_proto(host_id, request.distances),
            round_trip=request.round_trip_seconds if request.HasField("round_trip_seconds") else None,
            evidence=evidence_from_proto(request.health),
            upgrade=upgrade_from_proto(request.upgrade) if request.HasField("upgrade") else None,
        )
        lease: float = await self._parts.engine.post(reported)
        answering(context, "coordinator.before-report-answer", "coordinator.after-report-answer")
        return pb.ReportResponse(
            lease_seconds=lease,
            coordinators=self._parts.coordinators(),
            health_sequence=max((evidence.sequence for evidence in reported.evidence), default=0),
        )

    async def PublishLogs(self, request: pb.PublishLogsRequest, context: Any) -> pb.PublishLogsResponse:
        """Append output by offset; answered once it is on disk."""
        host_id = calling_host_id()
        ids = [chunk.allocation_id for chunk in request.chunks]
        wanted = await self._parts.engine.read(lambda state: _known_outputs(state, host_id, ids))
        known = [chunk for chunk in request.chunks if chunk.allocation_id in wanted]
        chunks = [
            Chunk(AllocationId(chunk.allocation_id), chunk.offset, chunk.data, chunk.dropped_bytes, chunk.drop_reason)
            for chunk in known
        ]
        reach("coordinator.before-log-append")
        offsets = await self._parts.logs.append_batch(chunks)
        answering(context, "coordinator.after-log-append", "coordinator.after-logs-answer")
        positions = [pb.LogPosition(allocation_id=a, offset=offset) for a, offset in offsets.items()]
        positions += [pb.LogPosition(allocation_id=a, unknown=True) for a in dict.fromkeys(ids) if a not in wanted]
        return pb.PublishLogsResponse(positions=positions)

    async def FetchArchive(
        self, request: pb.FetchArchiveRequest, context: Any
    ) -> AsyncIterator[pb.FetchArchiveResponse]:
        """An archive in pieces."""
        if not self._parts.archives.has(request.sha256):
            raise NotFound(f"there is no archive {request.sha256[:12]!r}; submit the job again")
        async for piece in self._parts.archives.open(request.sha256):
            yield pb.FetchArchiveResponse(data=piece)

    async def FetchWheel(self, request: pb.FetchWheelRequest, context: Any) -> AsyncIterator[pb.FetchWheelResponse]:
        """The coordinator's own wheel in pieces, by its hash."""
        wheel = await self._parts.wheel()
        if wheel.release.sha256 != request.sha256:
            raise NotFound(
                f"this coordinator has no wheel {request.sha256[:12]!r} any more, it is {wheel.release.build} now: "
                "order the upgrade again"
            )
        async for piece in wheel.pieces():
            yield pb.FetchWheelResponse(data=piece)

    async def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Any) -> pb.RenewCertificateResponse:
        """A new certificate for the same host."""
        host_id = calling_host_id()
        host = await self._parts.engine.read(lambda state: state.hosts.get(host_id))
        if host is None:
            raise HostForgotten(f"host {host_id} was removed from this cluster; join it again with a new token")
        life = self._parts.certificate_life
        certificate = self._parts.authority.sign_host_csr(request.csr_pem, host_id, host.name, time.time(), life)
        log.info("certificate.renewed", host=host.name, id=host_id)
        return pb.RenewCertificateResponse(certificate_pem=certificate, ca_pem=self._parts.authority.certificate_pem)

    async def Vacate(self, request: pb.VacateRequest, context: Any) -> pb.VacateResponse:
        """The host's own drain."""
        host_id = calling_host_id()
        check_drain_seconds(request.after_seconds)
        asked = VacateAsked(host_id, request.after_seconds, one_line(request.reason) or "it asked for it")
        host: Host = await self._parts.engine.post(asked)
        log.info("host.vacates", host=host.name, id=host_id, reason=asked.reason, seconds=request.after_seconds)
        held = await self._parts.engine.read(lambda state: sorted(_held(state, host_id)))
        return pb.VacateResponse(allocation_ids=held)

    async def Leave(self, request: pb.LeaveRequest, context: Any) -> pb.LeaveResponse:
        """The host is forgotten."""
        host_id = calling_host_id()
        left = HostLeft(host_id, request.idle, one_line(request.reason) or "it left")
        host: Host | None = await self._parts.engine.post(left)
        if host is not None:
            log.info("host.left", host=host.name, id=host_id, reason=left.reason)
        return pb.LeaveResponse()


def _held(state: State, host_id: HostId) -> Iterable[str]:
    return state.usage[host_id].allocations if host_id in state.usage else ()


def _known_outputs(state: State, host_id: HostId, ids: list[str]) -> set[str]:
    """The allocations whose output this host may still send: what it holds, and what the node last had there."""
    return {text for text in ids if _is_known_output(state, host_id, text)}


def _is_known_output(state: State, host_id: HostId, text: str) -> bool:
    held = state.allocations.get(AllocationId(text))
    if held is not None:
        return held.host_id == host_id
    job, _, rest = text.partition(".")
    rank, _, attempt = rest.partition(".")
    node = state.nodes.get(JobId(job), {}).get(int(rank)) if rank.isdecimal() and attempt.isdecimal() else None
    if node is None:
        return False
    if int(attempt) == node.attempt:
        return node.host_id == host_id
    # The rest of what failed there, or had to leave, comes also when the node runs elsewhere again.
    return host_id in (node.failed_host_id, node.left_host_id) and int(attempt) <= node.last_attempt
