"""The client that the commands use and that programs may import: typed, synchronous, one method a question.

    with Client.from_context() as client:
        job = client.submit(spec)
        for chunk in client.tail(job.id, follow=True): ...

Answers are the messages of ``rallypoint.v1``. Every failure is a ``coordinator.failures.RallypointError`` whose text
says what, why and the way out.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from rallypoint.tls import prepare_grpc

prepare_grpc()  # must come before grpc is imported

from rallypoint.errors import Reason  # noqa: E402
from rallypoint.v1 import access_service_pb2 as access_pb  # noqa: E402
from rallypoint.v1 import host_service_pb2 as host_pb  # noqa: E402
from rallypoint.v1 import job_service_pb2 as job_pb  # noqa: E402
from rallypoint.v1 import types_pb2 as pb  # noqa: E402

from coordinator.failures import RallypointError, Refused, Unreachable  # noqa: E402
from coordinator.lines import Line, Lines, Method  # noqa: E402
from coordinator.patience import each_byte_once, repeatedly, stream  # noqa: E402

__all__ = ["Client", "RallypointError"]

CALL_SECONDS = 30.0
UPLOAD_SECONDS = 3600.0
_UPLOAD_PIECE = 1024 * 1024

ENDED = frozenset({pb.JOB_STATE_DONE, pb.JOB_STATE_FAILED, pb.JOB_STATE_STOPPED})

JobAnswer = TypeVar("JobAnswer", job_pb.StopJobResponse, job_pb.RetryJobResponse)


class Client:
    """A connection to a cluster: to whichever of its coordinators leads, where there are several.

    Methods raise ``RallypointError``; durations are seconds.
    """

    def __init__(
        self, address: str, *, ca_pem: bytes, token: str, timeout: float = CALL_SECONDS, others: Sequence[str] = ()
    ) -> None:
        """``others``: addresses that are tried when ``address`` does not lead."""
        self._lines = Lines((address, *others), functools.partial(Line, ca_pem=ca_pem, token=token), timeout)

    @classmethod
    def from_context(cls, path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Client:
        """Connect as the context file says (default: the one commands find), or to ``RALLYPOINT_COORDINATOR``.

        Raises ``context.ContextError``.
        """
        from coordinator.context import find_context, load_context, redirected

        context = redirected(load_context(find_context(None if path is None else str(path))), environ)
        return cls(context.address, ca_pem=context.ca_pem, token=context.token, others=context.others)

    @property
    def address(self) -> str:
        """Where calls go now."""
        return self._lines.address

    def close(self) -> None:
        """End the connections and all their streams."""
        self._lines.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------ jobs

    def plan(self, spec: pb.JobSpec) -> job_pb.PlanJobResponse:
        """What would happen to a job if it were submitted now."""
        return self._lines.ask(lambda to: to.jobs.PlanJob, job_pb.PlanJobRequest(spec=spec))

    def submit(self, spec: pb.JobSpec, request_id: str | None = None) -> pb.Job:
        """Submit a job, once: a call that was cut off is repeated under the same ``request_id``."""
        request = job_pb.SubmitJobRequest(spec=spec, request_id=request_id or str(uuid.uuid4()))
        return repeatedly(self._lines, lambda repeated: self._lines.ask(lambda to: to.jobs.SubmitJob, request).job)

    def job(self, job: str) -> job_pb.GetJobResponse:
        """A job, by id or name, with its first thousand nodes; ``nodes`` gives all of them."""
        return self._lines.ask(lambda to: to.jobs.GetJob, job_pb.GetJobRequest(job=job))

    def nodes(
        self,
        job: str,
        *,
        states: Iterable[pb.NodeState.ValueType] = (),
        ranks: tuple[int, int | None] = (0, None),
        limit: int | None = None,
        last_lines: bool = False,
    ) -> Iterator[pb.Node]:
        """A job's nodes that were placed at least once, by rank, asked for a page at a time.

        ``states``: only those in one of these; ``ranks``: from one to before another (None: to the last); ``limit``: at
        most so many; ``last_lines``: with the last line of each one's output.
        """
        first, end = ranks
        request = job_pb.ListNodesRequest(job=job, states=states, end_rank=end, last_lines=last_lines)
        left, following = limit, first
        while left is None or left > 0:
            request.first_rank, request.page_size = following, left or 0
            page = self._lines.ask(lambda to: to.jobs.ListNodes, request)
            yield from page.nodes
            left = None if left is None else left - len(page.nodes)
            if not page.HasField("next_rank"):
                return
            following = page.next_rank

    def jobs(self, *, all: bool = False, limit: int = 0) -> list[pb.Job]:  # noqa: A002 -- the API's word
        """Jobs that have not ended, or ``all``; newest first, at most ``limit`` (0: the server's default)."""
        request = job_pb.ListJobsRequest(all=all, page_size=limit)
        return list(self._lines.ask(lambda to: to.jobs.ListJobs, request).jobs)

    def stop(self, job: str, *, signal: str = "", abort: bool = False) -> pb.Job:
        """Ask a job to stop; ``abort`` kills it at once. A call that was cut off is repeated."""
        request = job_pb.StopJobRequest(job=job, signal=signal, abort=abort)
        return self._change(job, lambda to: to.jobs.StopJob, request)

    def retry(self, job: str, *, failed: bool = False) -> pb.Job:
        """Have an ended job tried again: the nodes that ``failed``, or all that are not done. A call that was cut off
        is repeated."""
        request = job_pb.RetryJobRequest(job=job, failed=failed)
        return self._change(job, lambda to: to.jobs.RetryJob, request)

    def _change(self, job: str, method: Method[JobAnswer], request: object) -> pb.Job:
        def change(repeated: bool) -> pb.Job:
            try:
                return self._lines.ask(method, request, once=True).job
            except Refused as refusal:
                if repeated and refusal.reason == Reason.CONFLICT:
                    # It is so already: the call that was cut off had arrived.
                    return self.job(job).job
                raise

        return repeatedly(self._lines, change)

    def explain(self, job: str) -> job_pb.ExplainJobResponse:
        """Why each host was or was not chosen."""
        return self._lines.ask(lambda to: to.jobs.ExplainJob, job_pb.ExplainJobRequest(job=job))

    def watch(self, job: str, *, job_only: bool = False) -> Iterator[job_pb.WatchJobResponse]:
        """The job now and after every change, until it has ended; survives a restart of the coordinator.

        With its nodes, all at first and then those that changed, unless ``job_only``.
        """
        request = job_pb.WatchJobRequest(job=job, job_only=job_only)
        return stream(self._lines, lambda to: to.jobs.WatchJob(request))

    def wait(self, job: str, timeout: float | None = None, on_change: Callable[[pb.Job], None] | None = None) -> pb.Job:
        """The job once it has ended; ``on_change`` hears of it until then.

        Raises ``TimeoutError`` after ``timeout`` seconds.
        """
        request = job_pb.WatchJobRequest(job=job, job_only=True)
        until = None if timeout is None else time.monotonic() + timeout
        try:
            for change in stream(self._lines, lambda to: to.jobs.WatchJob(request, timeout=_left(until))):
                if change.job.state in ENDED:
                    return change.job
                if on_change is not None:
                    on_change(change.job)
        except Unreachable as error:
            if error.reason == "DEADLINE_EXCEEDED":
                raise TimeoutError(f"job {job} has not ended within {timeout:g} s") from None
            raise
        return self.job(job).job

    def tail(
        self,
        job: str,
        *,
        rank: int | None = None,
        attempt: int | None = None,
        follow: bool = False,
        lines: int | None = None,
        on_away: Callable[[], None] | None = None,
    ) -> Iterator[job_pb.TailLogsResponse]:
        """Output in pieces, each byte once; with ``follow`` until the job has ended and all of it was sent.

        A piece may tell of a gap: ``dropped_bytes`` before its ``offset`` are not kept, for ``drop_reason``. ``lines``:
        of what there is now only the last so many lines of each node. ``on_away`` is called when the coordinator went
        away and is tried again.
        """
        request = job_pb.TailLogsRequest(job=job, rank=rank, attempt=attempt, follow=follow, tail_lines=lines)
        return each_byte_once(stream(self._lines, lambda to: to.jobs.TailLogs(request), on_away))

    def costs(self, by: job_pb.CostsBy.ValueType, *, since: float = 0.0, user: str = "") -> job_pb.GetCostsResponse:
        """What was spent from the day of the Unix second ``since`` on, of one user or (empty) of all."""
        request = job_pb.GetCostsRequest(by=by, since=since, user=user)
        return self._lines.ask(lambda to: to.jobs.GetCosts, request)

    def upload_archive(self, archive: BinaryIO) -> pb.FileArchive:
        """Store a job's files (a tar archive) ahead of its submission."""
        start = archive.tell()

        def requests() -> Iterator[job_pb.UploadArchiveRequest]:
            archive.seek(start)
            for piece in iter(lambda: archive.read(_UPLOAD_PIECE), b""):
                yield job_pb.UploadArchiveRequest(data=piece)

        def upload(to: Line) -> Callable[..., job_pb.UploadArchiveResponse]:
            return lambda _, timeout: to.jobs.UploadArchive(requests(), timeout=timeout)

        return repeatedly(self._lines, lambda repeated: self._lines.ask(upload, None, UPLOAD_SECONDS).archive)

    # ------------------------------------------------------------ hosts

    def hosts(self) -> host_pb.ListHostsResponse:
        """All hosts, and the networks they were seen to form."""
        return self._lines.ask(lambda to: to.hosts.ListHosts, host_pb.ListHostsRequest())

    def host(self, host: str) -> pb.Host:
        """One host, by id or name."""
        return self._lines.ask(lambda to: to.hosts.GetHost, host_pb.GetHostRequest(host=host)).host

    def cordon(self, host: str) -> pb.Host:
        """No new work for the host."""
        return self._lines.ask(lambda to: to.hosts.CordonHost, host_pb.CordonHostRequest(host=host)).host

    def drain(self, host: str, *, after: float = 0.0) -> pb.Host:
        """No new work for the host; what runs goes after so many seconds, and is placed elsewhere."""
        request = host_pb.DrainHostRequest(host=host, after_seconds=after)
        return self._lines.ask(lambda to: to.hosts.DrainHost, request).host

    def resume(self, host: str) -> pb.Host:
        """Work for the host again."""
        return self._lines.ask(lambda to: to.hosts.ResumeHost, host_pb.ResumeHostRequest(host=host)).host

    def quarantine(self, host: str, gpu: str, reason: str) -> pb.Host:
        """No work for one of the host's GPUs (its uuid or number) until it is released; what runs there goes."""
        request = host_pb.QuarantineGpuRequest(host=host, gpu=gpu, reason=reason)
        return self._lines.ask(lambda to: to.hosts.QuarantineGpu, request).host

    def release(self, host: str, gpu: str = "") -> pb.Host:
        """Forget what is held against a GPU of the host, or (empty) against all of them, its bus and its driver."""
        request = host_pb.ReleaseGpusRequest(host=host, gpu=gpu)
        return self._lines.ask(lambda to: to.hosts.ReleaseGpus, request, once=True).host

    def test_gpus(self, host: str, gpu: str = "") -> pb.Host:
        """Have a GPU of the host tested, or (empty) all that nothing holds."""
        request = host_pb.TestGpusRequest(host=host, gpu=gpu)
        return self._lines.ask(lambda to: to.hosts.TestGpus, request, once=True).host

    def events(
        self, host: str = "", *, limit: int = 0, follow: bool = False, on_away: Callable[[], None] | None = None
    ) -> Iterator[pb.HostEvent]:
        """What happened to a host, or to all, the oldest first; ``limit``: only the last so many of what is kept.

        With ``follow`` also what happens from then on; ``on_away`` as in ``tail``.
        """
        request = host_pb.ListEventsRequest(host=host, limit=limit, follow=follow)
        for piece in stream(self._lines, lambda to: to.hosts.ListEvents(request), on_away):
            for event in piece.events:
                # Where it goes on after a reconnect.
                request.after, request.limit = event.number, 0
                yield event

    def remove_host(self, host: str, *, gone: bool = False) -> None:
        """Forget a host that has no work; it has to join again.

        ``gone``: the machine will never be back, and what it held is lost.
        """
        request = host_pb.RemoveHostRequest(host=host, gone=gone)
        self._lines.ask(lambda to: to.hosts.RemoveHost, request, once=True)

    def start_upgrade(
        self,
        hosts: Sequence[str] = (),
        *,
        everything: bool = False,
        batch: int = 0,
        percent: float = 0.0,
        max_failures: int = 0,
        install_seconds: float = 0.0,
    ) -> pb.Upgrade:
        """Upgrade hosts, or ``everything``, to the coordinator's release: ``batch`` at a time, or so many ``percent``.

        More than ``max_failures`` failures stop it. What is 0 is the server's default.
        """
        request = host_pb.StartUpgradeRequest(
            hosts=hosts,
            all=everything,
            batch=batch,
            batch_percent=percent,
            max_failures=max_failures,
            install_seconds=install_seconds,
        )
        return self._lines.ask(lambda to: to.hosts.StartUpgrade, request, once=True).upgrade

    def upgrade(self) -> pb.Upgrade:
        """The last upgrade of hosts, under way or ended."""
        return self._lines.ask(lambda to: to.hosts.GetUpgrade, host_pb.GetUpgradeRequest()).upgrade

    def cancel_upgrade(self) -> pb.Upgrade:
        """Begin no further host of the upgrade that is under way."""
        return self._lines.ask(lambda to: to.hosts.CancelUpgrade, host_pb.CancelUpgradeRequest(), once=True).upgrade

    def watch_upgrade(self, on_away: Callable[[], None] | None = None) -> Iterator[pb.Upgrade]:
        """The last upgrade now and after every change, until no host is at it any more; ``on_away`` as in ``tail``."""
        for change in stream(self._lines, lambda to: to.hosts.WatchUpgrade(host_pb.WatchUpgradeRequest()), on_away):
            yield change.upgrade

    # ------------------------------------------------------------ tokens and users

    def create_token(
        self, *, ttl: float, uses: int, labels: Mapping[str, str] | None = None
    ) -> access_pb.CreateTokenResponse:
        """A join token for ``uses`` hosts (0: any number), good for ``ttl`` seconds."""
        request = access_pb.CreateTokenRequest(ttl_seconds=ttl, uses=uses, labels=dict(labels or {}))
        return self._lines.ask(lambda to: to.access.CreateToken, request, once=True)

    def tokens(self) -> list[access_pb.JoinToken]:
        """Join tokens, without their secrets."""
        return list(self._lines.ask(lambda to: to.access.ListTokens, access_pb.ListTokensRequest()).tokens)

    def revoke_token(self, token_id: str) -> None:
        """No host can join with the token any more."""
        self._lines.ask(lambda to: to.access.RevokeToken, access_pb.RevokeTokenRequest(id=token_id))

    def create_user(self, name: str, role: access_pb.Role.ValueType) -> access_pb.CreateUserResponse:
        """A user and the token that is shown this once."""
        request = access_pb.CreateUserRequest(name=name, role=role)
        return self._lines.ask(lambda to: to.access.CreateUser, request, once=True)

    def users(self) -> list[access_pb.User]:
        """All users."""
        return list(self._lines.ask(lambda to: to.access.ListUsers, access_pb.ListUsersRequest()).users)

    def remove_user(self, name: str) -> None:
        """The user's token is refused from now on."""
        self._lines.ask(lambda to: to.access.RemoveUser, access_pb.RemoveUserRequest(name=name), once=True)

    def whoami(self) -> access_pb.WhoAmIResponse:
        """Who the token belongs to, and the coordinator's version."""
        return self._lines.ask(lambda to: to.access.WhoAmI, access_pb.WhoAmIRequest())


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.001, until - time.monotonic())
