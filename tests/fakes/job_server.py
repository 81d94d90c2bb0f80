"""A real gRPC server over TLS that answers what users call from canned state, so that commands are tried whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
from rallypoint.channel import server_options  # noqa: E402
from rallypoint.errors import Reason, error_trailer  # noqa: E402
from rallypoint.v1 import access_service_pb2 as access_pb  # noqa: E402
from rallypoint.v1 import access_service_pb2_grpc as access_grpc  # noqa: E402
from rallypoint.v1 import host_service_pb2 as host_pb  # noqa: E402
from rallypoint.v1 import host_service_pb2_grpc as host_grpc  # noqa: E402
from rallypoint.v1 import job_service_pb2 as job_pb  # noqa: E402
from rallypoint.v1 import job_service_pb2_grpc as job_grpc  # noqa: E402
from rallypoint.v1 import types_pb2 as pb  # noqa: E402

from coordinator.access.ca import load_or_create  # noqa: E402
from coordinator.access.context import write_context  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import api_credentials  # noqa: E402
from coordinator.context import Context  # noqa: E402

USER_TOKEN = "rpu-test-token"
Interrupt = Callable[[grpc.ServicerContext], None]


def refuse(code: grpc.StatusCode, reason: str, message: str) -> Interrupt:
    """An answer that refuses the call as the coordinator would."""

    def interrupt(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(error_trailer(code, reason, message))
        context.abort(code, message)

    return interrupt


def away(context: grpc.ServicerContext) -> None:
    """What a client sees while the coordinator restarts."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")


def ended_job(state: pb.JobState.ValueType, exit_code: int | None = None, **fields: object) -> pb.Job:
    """A job that has ended."""
    job = pb.Job(id="j-1", name="digits", user="ann", state=state, submitted_at=100, started_at=101, ended_at=113)
    job.spec.nodes = 1
    job.MergeFrom(pb.Job(**fields))  # type: ignore[arg-type]
    if exit_code is not None:
        job.exit_code = exit_code
    return job


@dataclass
class Canned:
    """What the server answers, and what it was asked."""

    jobs: list[pb.Job] = field(default_factory=list)
    nodes: list[pb.Node] = field(default_factory=list)
    hosts: list[pb.Host] = field(default_factory=list)
    networks: list[pb.Network] = field(default_factory=list)
    plan: job_pb.PlanJobResponse = field(default_factory=job_pb.PlanJobResponse)
    explain: job_pb.ExplainJobResponse = field(default_factory=job_pb.ExplainJobResponse)
    costs: job_pb.GetCostsResponse = field(default_factory=job_pb.GetCostsResponse)
    watched: list[pb.Job] = field(default_factory=list)
    logs: list[job_pb.TailLogsResponse] = field(default_factory=list)
    tokens: list[access_pb.JoinToken] = field(default_factory=list)
    install_line: str = ""
    users: list[access_pb.User] = field(default_factory=list)
    interrupts: dict[str, list[Interrupt]] = field(default_factory=dict)
    """Method -> what to do instead of answering, once each."""
    hold_logs: threading.Event | None = None
    """When set, a log stream stays open after its last piece until the event."""
    cut_logs_after: list[int] = field(default_factory=list)
    """A log stream breaks after so many pieces, once each."""
    page: int = 1000
    """So many nodes are in one answer."""
    asked: list[tuple[str, object]] = field(default_factory=list)
    uploaded: bytes = b""

    def requests(self, method: str) -> list[object]:
        """What a method was asked, in order."""
        return [request for name, request in self.asked if name == method]


class _Base:
    def __init__(self, canned: Canned) -> None:
        self.canned = canned

    def _asked(self, method: str, request: object, context: grpc.ServicerContext) -> None:
        self.canned.asked.append((method, request))
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {USER_TOKEN}":
            refuse(grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED, "the token is not known; get a new one")(
                context
            )
        if waiting := self.canned.interrupts.get(method):
            waiting.pop(0)(context)

    def _job(self, name: str, context: grpc.ServicerContext) -> pb.Job:
        for job in self.canned.jobs:
            if name in (job.id, job.name):
                return job
        text = f"there is no job {name!r}; 'coordinator ps --all' lists them"
        refuse(grpc.StatusCode.NOT_FOUND, Reason.NOT_FOUND, text)(context)
        raise AssertionError("abort raises")


class _Jobs(_Base, job_grpc.JobServiceServicer):
    def SubmitJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("SubmitJob", request, context)
        self.canned.jobs[0].spec.CopyFrom(request.spec)
        return job_pb.SubmitJobResponse(job=self.canned.jobs[0])

    def PlanJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("PlanJob", request, context)
        return self.canned.plan

    def GetJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("GetJob", request, context)
        return job_pb.GetJobResponse(job=self._job(request.job, context), nodes=self.canned.nodes)

    def ListJobs(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ListJobs", request, context)
        return job_pb.ListJobsResponse(jobs=self.canned.jobs)

    def ListNodes(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ListNodes", request, context)
        job = self._job(request.job, context)
        end = request.end_rank if request.HasField("end_rank") else job.spec.nodes
        found = [n for n in self.canned.nodes if request.first_rank <= n.rank < end]
        found = [n for n in found if not request.states or n.state in request.states]
        size = min(request.page_size or self.canned.page, self.canned.page)
        following = found[size].rank if len(found) > size else None
        return job_pb.ListNodesResponse(nodes=found[:size], next_rank=following)

    def RetryJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("RetryJob", request, context)
        return job_pb.RetryJobResponse(job=self._job(request.job, context))

    def StopJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("StopJob", request, context)
        return job_pb.StopJobResponse(job=self._job(request.job, context))

    def WatchJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("WatchJob", request, context)
        for job in self.canned.watched or [self._job(request.job, context)]:
            yield job_pb.WatchJobResponse(job=job, nodes=self.canned.nodes)
        if self.canned.hold_logs is not None:
            self.canned.hold_logs.wait(30)

    def TailLogs(self, request, context) -> Iterator[job_pb.TailLogsResponse]:  # type: ignore[no-untyped-def]
        self._asked("TailLogs", request, context)
        self._job(request.job, context)
        cut = self.canned.cut_logs_after.pop(0) if self.canned.cut_logs_after else None
        for index, piece in enumerate(self.canned.logs):
            if index == cut:
                away(context)
            if not request.HasField("rank") or piece.rank == request.rank:
                yield piece
        if request.follow and self.canned.hold_logs is not None:
            self.canned.hold_logs.wait(30)

    def ExplainJob(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ExplainJob", request, context)
        self._job(request.job, context)
        return self.canned.explain

    def GetCosts(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("GetCosts", request, context)
        return self.canned.costs

    def UploadArchive(self, request_iterator, context):  # type: ignore[no-untyped-def]
        self.canned.uploaded = b"".join(request.data for request in request_iterator)
        self._asked("UploadArchive", None, context)
        return job_pb.UploadArchiveResponse(
            archive=pb.FileArchive(sha256="ab" * 32, size_bytes=len(self.canned.uploaded))
        )


class _Hosts(_Base, host_grpc.HostServiceServicer):
    def ListHosts(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ListHosts", request, context)
        return host_pb.ListHostsResponse(hosts=self.canned.hosts, networks=self.canned.networks)

    def CordonHost(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("CordonHost", request, context)
        self.canned.hosts[0].cordoned = True
        return host_pb.CordonHostResponse(host=self.canned.hosts[0])

    def DrainHost(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("DrainHost", request, context)
        self.canned.hosts[0].cordoned, self.canned.hosts[0].vacates_at = True, time.time() + request.after_seconds
        return host_pb.DrainHostResponse(host=self.canned.hosts[0])

    def ResumeHost(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ResumeHost", request, context)
        self.canned.hosts[0].cordoned, self.canned.hosts[0].vacates_at = False, 0
        return host_pb.ResumeHostResponse(host=self.canned.hosts[0])

    def RemoveHost(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("RemoveHost", request, context)
        return host_pb.RemoveHostResponse()


class _Access(_Base, access_grpc.AccessServiceServicer):
    def CreateToken(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("CreateToken", request, context)
        info, line = access_pb.JoinToken(id="t-1"), self.canned.install_line
        return access_pb.CreateTokenResponse(token="rp1.join.token", info=info, install_line=line)

    def ListTokens(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ListTokens", request, context)
        return access_pb.ListTokensResponse(tokens=self.canned.tokens)

    def RevokeToken(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("RevokeToken", request, context)
        return access_pb.RevokeTokenResponse()

    def CreateUser(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("CreateUser", request, context)
        user = access_pb.User(name=request.name, role=request.role, created_at=100)
        return access_pb.CreateUserResponse(user=user, token="rpu-new-token")

    def ListUsers(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("ListUsers", request, context)
        return access_pb.ListUsersResponse(users=self.canned.users)

    def RemoveUser(self, request, context):  # type: ignore[no-untyped-def]
        self._asked("RemoveUser", request, context)
        return access_pb.RemoveUserResponse()


class JobServer:
    """``with JobServer(directory) as server``: answers on loopback; ``server.context`` is a context file for it."""

    def __init__(self, directory: Path) -> None:
        self.canned = Canned()
        self._directory = directory
        self._server = grpc.server(ThreadPoolExecutor(16), options=server_options())
        for services, add in (
            (_Jobs(self.canned), job_grpc.add_JobServiceServicer_to_server),
            (_Hosts(self.canned), host_grpc.add_HostServiceServicer_to_server),
            (_Access(self.canned), access_grpc.add_AccessServiceServicer_to_server),
        ):
            add(services, self._server)  # type: ignore[arg-type]
        self.address = ""
        self.context = directory / "admin.toml"

    def __enter__(self) -> JobServer:
        authority = load_or_create(self._directory / "ca", time.time())
        identity = ServerIdentity(authority, self._directory / "ca", server_names())
        port = self._server.add_secure_port("127.0.0.1:0", api_credentials(identity, time.time))
        self.address = f"127.0.0.1:{port}"
        write_context(self.context, Context(self.address, authority.cluster_id, authority.certificate_pem, USER_TOKEN))
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.canned.hold_logs is not None:
            self.canned.hold_logs.set()
        self._server.stop(None).wait()
