"""A coordinator as an agent sees it: a real gRPC server with mutual TLS, which the test moves by hand."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
import grpc.aio  # noqa: E402
from rallypoint.channel import server_options  # noqa: E402
from rallypoint.errors import abort  # noqa: E402
from rallypoint.v1 import agent_service_pb2 as pb  # noqa: E402
from rallypoint.v1 import agent_service_pb2_grpc as pb_grpc  # noqa: E402
from rallypoint.v1 import types_pb2 as types  # noqa: E402

from agent.credentials import make_key_and_csr  # noqa: E402
from agent.identity import Identity, Pems, save  # noqa: E402
from coordinator.access import ca  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import agent_credentials  # noqa: E402

T = TypeVar("T")


def enrol(authority: ca.Authority, state_dir: Path, host_id: str, address: str, life: float = 86400.0) -> Identity:
    """Write the identity of a host that has joined."""
    new, now = make_key_and_csr(), time.time()
    certificate = authority.sign_host_csr(new.csr_pem, host_id, host_id, now, life)
    identity = Identity(state_dir, host_id, host_id, authority.cluster_id, (address,), now - 1, now + life)
    save(identity, Pems(authority.certificate_pem, new.key_pem, certificate))
    return identity


class FakeCoordinator(pb_grpc.AgentServiceServicer):
    """Records all that agents say (by allocation) and sends down what the test orders."""

    def __init__(self, authority: ca.Authority, directory: Path) -> None:
        self.authority = authority
        self.identity = ServerIdentity(authority, directory, server_names())
        self.address = ""
        self.lease = 30.0
        self.lease_grace = 5.0
        self.heartbeat = 0.2
        self.answering = True
        self.cut_fetches = 0
        self.removed = False
        self.epoch = 0
        self.revision = 0
        self.opened: list[pb.OpenSessionRequest] = []
        self.reports: list[pb.ReportRequest] = []
        self.statuses: dict[str, pb.AllocationStatus] = {}
        self.history: list[tuple[str, int]] = []
        self.logs: dict[str, bytearray] = {}
        self.probes: list[pb.ProbeResult] = []
        self.health: dict[int, types.HealthEvidence] = {}
        self.hardware = types.Hardware()
        self.archives: dict[str, bytes] = {}
        self.desired: dict[str, pb.DesiredAllocation] = {}
        self._down: list[asyncio.Queue[pb.OpenSessionResponse]] = []
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    # --- what the test does ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve, on the same port as before if there was one."""
        self._server = grpc.aio.server(options=server_options())
        pb_grpc.add_AgentServiceServicer_to_server(self, self._server)
        credentials = agent_credentials(self.identity, time.time, self.authority.certificate_pem)
        port = self._server.add_secure_port(self.address or "127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Be gone."""
        assert self._server is not None
        await self._server.stop(0)

    def want(self, *allocations: pb.DesiredAllocation, removed: tuple[str, ...] = ()) -> None:
        """Order something of every connected agent."""
        for allocation in allocations:
            self.desired[allocation.allocation_id] = allocation
        for key in removed:
            self.desired.pop(key, None)
        self.revision += 1
        state = pb.DesiredState(revision=self.revision, allocations=allocations, removed_allocation_ids=removed)
        self.send(pb.OpenSessionResponse(desired=state))

    def send(self, message: pb.OpenSessionResponse) -> None:
        """Send anything down."""
        for queue in self._down:
            queue.put_nowait(message)

    async def until(self, found: Callable[[], T], what: str = "condition", seconds: float = 20.0) -> T:
        """Wait until ``found()`` is truthy; looked at after every call of an agent."""
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(found)
            except TimeoutError:
                raise AssertionError(f"{what} not reached; statuses: {self.statuses}") from None
        return found()

    async def ended(self, key: str) -> pb.AllocationStatus:
        """Wait for an allocation's end and all of its output."""

        def over() -> pb.AllocationStatus | None:
            status = self.statuses.get(key)
            done = status is not None and status.phase == pb.OBSERVED_PHASE_ENDED
            return status if done and len(self.logs.get(key, b"")) >= status.log_bytes else None

        found = await self.until(over, f"end of {key}")
        assert found is not None
        return found

    async def running(self, key: str) -> pb.AllocationStatus:
        """Wait until an allocation runs."""
        await self.until(
            lambda: key in self.statuses and self.statuses[key].phase == pb.OBSERVED_PHASE_RUNNING, f"{key} running"
        )
        return self.statuses[key]

    def keep_archive(self, data: bytes) -> str:
        """Make an archive available; returns its hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.archives[sha256] = data
        return sha256

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- what agents call -----------------------------------------------------------------------------------------

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> AsyncIterator[pb.OpenSessionResponse]:
        if self.removed:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "HOST_REMOVED", "host h-1 was removed; join again")
        self.epoch += 1
        self.opened.append(request)
        self.hardware = request.hardware
        queue: asyncio.Queue[pb.OpenSessionResponse] = asyncio.Queue()
        self._down.append(queue)
        yield pb.OpenSessionResponse(
            welcome=pb.Welcome(
                epoch=self.epoch,
                host_id="h-1",
                host_name="h-1",
                heartbeat_seconds=self.heartbeat,
                lease_seconds=self.lease,
                lease_grace_seconds=self.lease_grace,
                health_sequence=max(self.health, default=0),
            )
        )
        desired = pb.DesiredState(revision=self.revision, complete=True, allocations=list(self.desired.values()))
        yield pb.OpenSessionResponse(desired=desired)
        await self._note()
        try:
            while True:
                yield await queue.get()
        finally:
            self._down.remove(queue)

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
        if not self.answering:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if self.removed:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "HOST_REMOVED", "host h-1 was removed; join again")
        if request.epoch != self.epoch:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "STALE_SESSION", "an older session")
        self.reports.append(request)
        self.probes += request.probes
        self.health |= {evidence.sequence: evidence for evidence in request.health}
        if request.HasField("hardware"):
            self.hardware = request.hardware
        for status in request.statuses:
            self.statuses[status.allocation_id] = status
            self.history.append((status.allocation_id, status.phase))
        await self._note()
        told = max((evidence.sequence for evidence in request.health), default=0)
        return pb.ReportResponse(lease_seconds=self.lease, health_sequence=told)

    async def PublishLogs(self, request: pb.PublishLogsRequest, context: Any) -> pb.PublishLogsResponse:
        positions = []
        for chunk in request.chunks:
            log = self.logs.setdefault(chunk.allocation_id, bytearray())
            if chunk.offset - chunk.dropped_bytes <= len(log):
                log += bytes(max(0, chunk.offset - len(log)))
                log += chunk.data[len(log) - chunk.offset :]
            positions.append(pb.LogPosition(allocation_id=chunk.allocation_id, offset=len(log)))
        await self._note()
        return pb.PublishLogsResponse(positions=positions)

    async def FetchArchive(
        self, request: pb.FetchArchiveRequest, context: Any
    ) -> AsyncIterator[pb.FetchArchiveResponse]:
        data = self.archives.get(request.sha256)
        if self.cut_fetches:
            self.cut_fetches -= 1
            yield pb.FetchArchiveResponse(data=b"the beginning of")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if data is None:
            await abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "there is no such archive")
        for start in range(0, len(data), 1000):
            yield pb.FetchArchiveResponse(data=data[start : start + 1000])

    async def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Any) -> pb.RenewCertificateResponse:
        certificate = self.authority.sign_host_csr(request.csr_pem, "h-1", "h-1", time.time())
        await self._note()
        return pb.RenewCertificateResponse(certificate_pem=certificate, ca_pem=self.authority.certificate_pem)


Fake = TypeVar("Fake", bound=FakeCoordinator)


@asynccontextmanager
async def coordinator(directory: Path, kind: type[Fake] = FakeCoordinator) -> AsyncIterator[Fake]:  # type: ignore[assignment]
    """A running fake with a CA of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    fake = kind(ca.load_or_create(directory, time.time()), directory)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()


def any_node(key: str, *argv: str, **fields: Any) -> pb.DesiredAllocation:
    """A node of an `any` job ``JOB.RANK.ATTEMPT`` that shall run; ``fields`` go into its specification."""
    job, rank, attempt = key.split(".")
    spec = types.JobSpec(name="n", nodes=1, placement=types.PLACEMENT_ANY, argv=argv, **fields)
    return pb.DesiredAllocation(
        allocation_id=key,
        job_id=job,
        rank=int(rank),
        attempt=int(attempt),
        phase=pb.DESIRED_PHASE_RUNNING,
        job_name="n",
        spec=spec,
    )
