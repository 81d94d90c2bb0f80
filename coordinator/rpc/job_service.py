"""JobService: submitting, planning, watching, explaining and stopping jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rallypoint.v1 import job_service_pb2 as pb
from rallypoint.v1 import job_service_pb2_grpc as pb_grpc
from rallypoint.v1 import types_pb2

from coordinator import snapshots
from coordinator.archives import ArchiveStore
from coordinator.core import nearness
from coordinator.core.errors import Conflict, Invalid
from coordinator.core.events import JobSubmitted, PlanAsked, RetryRequested, StopRequested
from coordinator.core.ids import JobId
from coordinator.core.jobs import find_job
from coordinator.core.model import Job
from coordinator.core.state import State
from coordinator.disk import require_reserve
from coordinator.engine import Engine
from coordinator.outputs import Outputs, Selection
from coordinator.paging import NodeQuery
from coordinator.rpc.answering import answering
from coordinator.rpc.convert import job_to_proto, node_query, node_to_proto
from coordinator.rpc.costs import costs_to_proto
from coordinator.rpc.identity import calling_user
from coordinator.rpc.planning import explanation_to_proto, plan_to_proto
from coordinator.rpc.skew import check_understood
from coordinator.views import JobDetail
from coordinator.wire import spec_from_pb

DEFAULT_PAGE = 100
# A busy job changes hundreds of times a second; people read a few updates a second.
WATCH_INTERVAL = 0.1
# Of thousands of short nodes telling costs more than running them: the more there was to tell, the later comes more.
SECONDS_A_NODE = 0.002
LONGEST_INTERVAL = 0.5


class JobService(pb_grpc.JobServiceServicer):
    """What users call about jobs."""

    def __init__(self, engine: Engine, outputs: Outputs, archives: ArchiveStore, data_dir: Path) -> None:
        self._engine = engine
        self._outputs = outputs
        self._archives = archives
        self._data_dir = data_dir

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.SubmitJobResponse:
        """Accept a job; once answered it is on disk."""
        check_understood(request.spec, context.invocation_metadata() or ())
        spec = spec_from_pb(request.spec)
        require_reserve(self._data_dir)
        if spec.files is not None and not self._archives.use(spec.files.sha256):
            raise Conflict("the job's files are not here (any more); upload them again, then submit")
        job: Job = await self._engine.post(JobSubmitted(spec, calling_user().name, request.request_id))
        answer = pb.SubmitJobResponse(job=await self._job(job.id))
        answering(context, "coordinator.before-submit-answer", "coordinator.after-submit-answer")
        return answer

    async def PlanJob(self, request: pb.PlanJobRequest, context: Any) -> pb.PlanJobResponse:
        """What would happen to a job if it were submitted now."""
        check_understood(request.spec, context.invocation_metadata() or ())
        spec = spec_from_pb(request.spec)
        if spec.near is not None:
            await self._measured(spec.near)
        user = calling_user().name
        return await self._engine.read(lambda state: plan_to_proto(state, spec, user))

    async def _measured(self, near: str) -> None:
        """Have hosts measure how far ``near`` is, until all have answered or time is up."""
        await self._engine.post(PlanAsked(near))
        version = await self._engine.next_version(-1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(nearness.PATIENCE):
                while await self._engine.read(lambda state: nearness.measuring(state, near)):
                    version = await self._engine.next_version(version)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """One job with its first nodes."""
        detail = await self._outputs.job(request.job)
        nodes = [node_to_proto(node) for node in detail.nodes]
        return pb.GetJobResponse(job=job_to_proto(detail.job), nodes=nodes, next_rank=detail.next_rank)

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        """A page of a job's nodes."""
        detail = await self._outputs.job(request.job, node_query(request))
        nodes = await self._outputs.with_last_lines(detail.nodes) if request.last_lines else detail.nodes
        return pb.ListNodesResponse(nodes=[node_to_proto(node) for node in nodes], next_rank=detail.next_rank)

    async def RetryJob(self, request: pb.RetryJobRequest, context: Any) -> pb.RetryJobResponse:
        """Have an ended job tried again; once answered that is on disk."""
        require_reserve(self._data_dir)
        spec = (await self._engine.read(lambda state: find_job(state, request.job))).spec
        if spec.files is not None and not self._archives.use(spec.files.sha256):
            raise Conflict("the job's files are not here any more; submit it anew")
        job: Job = await self._engine.post(RetryRequested(request.job, calling_user().name, request.failed))
        return pb.RetryJobResponse(job=await self._job(job.id))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """Jobs, newest first."""
        limit = request.page_size or DEFAULT_PAGE
        views = await self._engine.read(lambda state: snapshots.jobs(state, ended=request.all, limit=limit))
        return pb.ListJobsResponse(jobs=[job_to_proto(view) for view in views])

    async def StopJob(self, request: pb.StopJobRequest, context: Any) -> pb.StopJobResponse:
        """Stop a job in whatever state it is."""
        requested = StopRequested(request.job, calling_user().name, request.signal, request.abort)
        job: Job = await self._engine.post(requested)
        return pb.StopJobResponse(job=await self._job(job.id))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        """The job now and after every change, until it has ended."""
        loop = asyncio.get_running_loop()
        job_id = (await self._engine.read(lambda state: find_job(state, request.job))).id
        told = None if request.job_only else snapshots.Told()
        while True:
            at = loop.time()
            news = await self._engine.read(lambda state: snapshots.news(state, job_id, told))
            yield pb.WatchJobResponse(job=job_to_proto(news.job), nodes=[node_to_proto(node) for node in news.nodes])
            if news.more:
                continue
            if news.job.job.state.ended:
                return
            interval = max(WATCH_INTERVAL, min(LONGEST_INTERVAL, SECONDS_A_NODE * len(news.nodes)))
            await self._until_changed(job_id, news.version, at + interval)

    async def _until_changed(self, job_id: JobId, since: int, not_before: float) -> None:
        """Wait until the job changed after version ``since``, and till ``not_before`` unless it has ended."""
        loop = asyncio.get_running_loop()
        latest, changed = since, False
        while not (changed and loop.time() >= not_before):
            try:
                async with asyncio.timeout_at(not_before if changed else None):
                    latest = await self._engine.next_version(latest)
            except TimeoutError:
                return
            ended, changed = await self._engine.read(lambda state: _stands(state, job_id, since))
            if ended:
                return

    async def TailLogs(self, request: pb.TailLogsRequest, context: Any) -> AsyncIterator[pb.TailLogsResponse]:
        """Output of one node or of all."""
        rank = request.rank if request.HasField("rank") else None
        attempt = request.attempt if request.HasField("attempt") else None
        detail = await self._engine.job(request.job, NodeQuery(first=rank or 0, limit=1))
        if rank is not None and rank >= detail.job.job.spec.nodes:
            raise Invalid(f"job {request.job!r} has no node {rank}: its ranks are 0 to {detail.job.job.spec.nodes - 1}")
        if attempt is not None and rank is not None:
            made = next((view.node.last_attempt for view in detail.nodes if view.node.rank == rank), 0)
            if not 1 <= attempt <= made:
                raise Invalid(f"node {rank} of job {request.job!r} has had {made} attempts, and no attempt {attempt}")
        lines = request.tail_lines if request.HasField("tail_lines") else None
        selection = Selection(detail.job.job.id, rank, attempt, lines)
        async for piece in self._outputs.pieces(selection, follow=request.follow):
            yield pb.TailLogsResponse(
                rank=piece.rank,
                attempt=piece.attempt,
                offset=piece.offset,
                data=piece.data,
                dropped_bytes=piece.dropped,
                drop_reason=piece.reason,
            )

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: Any) -> pb.ExplainJobResponse:
        """Why the job is where it is, for every host."""
        return await self._engine.read(lambda state: explanation_to_proto(state, find_job(state, request.job)))

    async def GetCosts(self, request: pb.GetCostsRequest, context: Any) -> pb.GetCostsResponse:
        """What was spent."""
        return await self._engine.read(lambda state: costs_to_proto(state, request))

    async def UploadArchive(
        self, request_iterator: AsyncIterator[pb.UploadArchiveRequest], context: Any
    ) -> pb.UploadArchiveResponse:
        """Store a job's files."""

        require_reserve(self._data_dir)

        async def pieces() -> AsyncIterator[bytes]:
            async for message in request_iterator:
                yield message.data

        sha256, size = await self._archives.receive(pieces())
        await self._archives.prune(await self._engine.read(_needed_archives))
        return pb.UploadArchiveResponse(archive=types_pb2.FileArchive(sha256=sha256, size_bytes=size))

    async def _job(self, job_id: str) -> types_pb2.Job:
        detail: JobDetail = await self._engine.job(job_id, NodeQuery(limit=0))
        return job_to_proto(detail.job)


def _needed_archives(state: State) -> set[str]:
    """Files of jobs that have not ended: a host may have to fetch them (again)."""
    jobs = (state.jobs[job_id] for job_id in state.unfinished)
    return {job.spec.files.sha256 for job in jobs if job.spec.files is not None}


def _stands(state: State, job_id: JobId, since: int) -> tuple[bool, bool]:
    """Whether the job has ended, and whether it changed after version ``since``."""
    job = state.jobs.get(job_id)
    return job is None or job.state.ended, state.touched.get(job_id, 0) > since
