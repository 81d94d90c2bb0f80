"""The calls of one channel to one coordinator address."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from rallypoint.channel import agent_channel
from rallypoint.errors import Reason, reason_of, why_unavailable
from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1.agent_service_pb2_grpc import AgentServiceStub
from rallypoint.version import PROTOCOL_VERSION, __version__

from agent.archive import ArchiveError
from agent.core.model import AllocationId
from agent.core.outflow import Position
from agent.logs import Chunk, PublishFailed
from agent.session import convert
from agent.spawner.wire import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from agent.core.model import Distance, Observed, Probe
    from agent.facts import HostFacts
    from agent.hardware import HardwareReport
    from agent.health.model import Evidence
    from agent.identity import Pems
    from agent.upgrade.trial import Progress

LOG_SECONDS = 20.0
RENEW_SECONDS = 20.0
LEAVE_SECONDS = 5.0
# Of no session: what is reported with it changes nothing.
_NO_EPOCH = (1 << 63) - 1


class Refused(Exception):
    """The coordinator does not want this host as it is; trying again is no use. The message says why."""


class ContactLost(Exception):
    """A call failed in a way that a new session may mend: the message says how."""


class StillHeld(Exception):
    """The host may not leave: the message says what it still runs."""


class StandsBy(ContactLost):
    """The coordinator there does not lead: another one does, or soon will. ``leader`` is its address, if known."""

    def __init__(self, message: str, leader: str) -> None:
        super().__init__(message)
        self.leader = leader


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a host says of itself when it opens a session. ``addresses`` and ``port`` are its peer endpoint.

    ``queues``: it can begin one node right behind another. ``leaving``: the drain that it asked for holds on.
    ``build``: which installed version it is.
    """

    instance_id: str
    hardware: HardwareReport
    facts: HostFacts
    addresses: tuple[str, ...]
    port: int
    cpus: int | None = None
    queues: bool = False
    leaving: bool = False
    build: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One report's content. ``round_trip``: seconds that reports take, if that is known."""

    epoch: int
    complete: bool
    statuses: Sequence[Observed]
    probes: Sequence[Probe] = ()
    hardware: HardwareReport | None = None
    goodbye: bool = False
    distances: Sequence[Distance] = ()
    round_trip: float | None = None
    evidence: Sequence[Evidence] = ()
    upgrade: Progress | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A report's answer: the lease in seconds, and where coordinators answer if there are several.

    ``evidence``: the coordinator has all up to this number.
    """

    lease: float
    coordinators: tuple[str, ...] = ()
    evidence: int = 0


class Link:
    """A channel to ``address`` with the host's certificate. Every method may raise ContactLost or Refused."""

    def __init__(self, address: str, pems: Pems, cpus: int | None = None) -> None:
        self.address = address
        self._cpus = cpus
        self._channel = agent_channel(address, **asdict(pems))
        self._stub = AgentServiceStub(self._channel)

    async def open(self, intro: Introduction) -> AsyncIterator[pb.OpenSessionResponse]:
        """Open a session and yield all that comes down."""
        request = pb.OpenSessionRequest(
            protocol_version=PROTOCOL_VERSION,
            agent_version=__version__,
            hardware=convert.hardware(intro.hardware, intro.cpus),
            facts=convert.facts(intro.facts),
            peer=pb.PeerEndpoint(addresses=intro.addresses, port=intro.port),
            instance_id=intro.instance_id,
            queues=intro.queues,
            leaving=intro.leaving,
            build=intro.build,
        )
        call = self._stub.OpenSession(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _as_ours(error) from None
        finally:
            call.cancel()

    async def report(self, report: Report, seconds: float) -> Answer:
        """Send a report."""
        request = pb.ReportRequest(
            epoch=report.epoch,
            complete=report.complete,
            statuses=[convert.status(seen, now(), time.time()) for seen in report.statuses],
            probes=[convert.probe(result) for result in report.probes],
            goodbye=report.goodbye,
            distances=[convert.distance(result) for result in report.distances],
            round_trip_seconds=report.round_trip,
            health=[convert.evidence(seen, now()) for seen in report.evidence],
        )
        if report.hardware is not None:
            request.hardware.CopyFrom(convert.hardware(report.hardware, self._cpus))
        if report.upgrade is not None:
            request.upgrade.CopyFrom(convert.upgrade_status(report.upgrade))
        try:
            answer = await self._stub.Report(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _as_ours(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: gRPC says so, too, of a call whose channel was closed under it.
            raise ContactLost("the channel was closed") from None
        return Answer(float(answer.lease_seconds), tuple(answer.coordinators), answer.health_sequence)

    async def greet(self, seconds: float) -> None:
        """Return if the coordinator there leads and knows this host, within ``seconds``; nothing changes by it."""
        try:
            with _closed_is(ContactLost):
                await self._stub.Report(pb.ReportRequest(epoch=_NO_EPOCH), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            # Who is not known, or not led from there, is told that first.
            if reason_of(error).reason != Reason.STALE_SESSION:
                raise _as_ours(error) from None

    async def publish(self, chunks: Sequence[Chunk]) -> list[Position]:
        """Send output; raises PublishFailed."""
        request = pb.PublishLogsRequest(
            chunks=[
                pb.LogChunk(
                    allocation_id=c.allocation,
                    offset=c.offset,
                    data=c.data,
                    dropped_bytes=c.dropped,
                    drop_reason=c.reason,
                )
                for c in chunks
            ]
        )
        try:
            with _closed_is(PublishFailed):
                answer = await self._stub.PublishLogs(request, timeout=LOG_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise PublishFailed(reason_of(error).message) from None
        return [Position(AllocationId(p.allocation_id), p.offset, p.unknown) for p in answer.positions]

    async def archive(self, sha256: str) -> AsyncIterator[bytes]:
        """An archive's bytes. Raises ArchiveError when the coordinator can't give them."""
        try:
            with _closed_is(ContactLost):
                async for piece in self._stub.FetchArchive(pb.FetchArchiveRequest(sha256=sha256)):
                    yield piece.data
        except grpc.aio.AioRpcError as error:
            if error.code() in _CUT:
                raise _as_ours(error) from None
            reason = f"{error.code().name.lower()}: {reason_of(error).message}"
            raise ArchiveError(f"files {sha256[:12]} could not be fetched: {reason}") from None

    async def wheel(self, sha256: str) -> AsyncIterator[bytes]:
        """A wheel's bytes. Raises ArchiveError when the coordinator has it not."""
        try:
            with _closed_is(ContactLost):
                async for piece in self._stub.FetchWheel(pb.FetchWheelRequest(sha256=sha256)):
                    yield piece.data
        except grpc.aio.AioRpcError as error:
            if error.code() in _CUT:
                raise _as_ours(error) from None
            raise ArchiveError(f"the wheel could not be fetched: {reason_of(error).message}") from None

    async def renew(self, csr_pem: bytes) -> bytes:
        """A new certificate (PEM) for the key of ``csr_pem``."""
        request = pb.RenewCertificateRequest(csr_pem=csr_pem)
        try:
            with _closed_is(ContactLost):
                answer = await self._stub.RenewCertificate(request, timeout=RENEW_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _as_ours(error) from None
        return answer.certificate_pem

    async def vacate(self, seconds: float, reason: str) -> list[str]:
        """Ask for this host's drain within ``seconds``; what the coordinator still holds there."""
        request = pb.VacateRequest(after_seconds=seconds, reason=reason)
        try:
            with _closed_is(ContactLost):
                answer = await self._stub.Vacate(request, timeout=LEAVE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _as_ours(error) from None
        return list(answer.allocation_ids)

    async def leave(self, reason: str, *, idle: bool) -> None:
        """Leave the cluster; not ``idle``: only if the coordinator holds nothing there, else raises StillHeld."""
        try:
            with _closed_is(ContactLost):
                await self._stub.Leave(pb.LeaveRequest(reason=reason, idle=idle), timeout=LEAVE_SECONDS)
        except grpc.aio.AioRpcError as error:
            if reason_of(error).reason == Reason.CONFLICT:
                raise StillHeld(reason_of(error).message) from None
            raise _as_ours(error) from None

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close()


@contextmanager
def _closed_is(failure: type[Exception]) -> Iterator[None]:
    """gRPC cancels the calls of a channel that is closed; to a task that nobody cancelled, that is ``failure``."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise failure("the session ended meanwhile") from None


# The call was cut off; what else goes wrong is the answer to it.
_CUT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


def _as_ours(error: grpc.aio.AioRpcError) -> Exception:
    refusal = reason_of(error)
    # Another protocol is not final: an upgrade of either side mends it, and what runs here has its lease until then.
    if refusal.reason == Reason.HOST_REMOVED:
        return Refused(refusal.message)
    if refusal.reason == Reason.NOT_LEADER:
        return StandsBy(refusal.message, refusal.metadata.get("leader", ""))
    if refusal.reason == "UNIMPLEMENTED":
        return ContactLost("what answers there is not the coordinator's port for agents")
    if refusal.reason == "DEADLINE_EXCEEDED":
        return ContactLost("no answer in time")
    if refusal.reason == "UNAVAILABLE":
        return ContactLost(why_unavailable(refusal.message))
    return ContactLost(f"{error.code().name.lower()}: {refusal.message}")
