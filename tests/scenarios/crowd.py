"""Users who submit short jobs without a pause, and what must be true of each of them whatever died meanwhile.

Every attempt of a node writes its start and its end into one file (``O_APPEND``) and holds a lock while it runs: that
is the evidence, and nobody's opinion.
"""

from __future__ import annotations

import io
import tarfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rallypoint.v1 import types_pb2 as pb

from coordinator.client import Client, RallypointError
from coordinator.failures import Unreachable
from tests.support import eventually

LINES = 60
# Not ended at a time: enough that every kind runs, few enough that two cores have time for the crashes.
AT_ONCE = 5

SCRIPT = """
exec 9>>"$EVIDENCE/lock.$DSTACK_RUN_NAME.$DSTACK_NODE_RANK"
flock -n 9 || echo "twice $RALLYPOINT_ALLOCATION_ID" >>"$EVIDENCE/runs"
[ -z "$RALLYPOINT_FAILPOINT" ] || echo "told of $RALLYPOINT_FAILPOINT" >>"$EVIDENCE/runs"
echo "start $RALLYPOINT_ALLOCATION_ID" >>"$EVIDENCE/runs"
[ ! -e data ] || cat data
say() { i=$1; while [ $i -lt $2 ]; do echo "$RALLYPOINT_ALLOCATION_ID says $i"; i=$((i + 1)); done; }
say 0 HALF
sleep "$NAP"
say HALF LINES
echo "end $RALLYPOINT_ALLOCATION_ID" >>"$EVIDENCE/runs"
exit "$CODE"
""".replace("HALF", str(LINES // 2)).replace("LINES", str(LINES))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job. ``files``: it brings a file, whose text it says first."""

    nodes: int = 1
    placement: pb.Placement.ValueType = pb.PLACEMENT_ANY
    code: int = 0
    nap: float = 0.1
    files: bool = False


KINDS = (
    Kind(nodes=2, files=True),
    Kind(nodes=2, placement=pb.PLACEMENT_CLUSTER, nap=0.05),
    Kind(code=3, nap=0.0, files=True),
    Kind(nap=0.6),
    Kind(files=True, nap=0.0),
)


@dataclass(frozen=True, slots=True)
class Submitted:
    """An acknowledged job and what its nodes must say before all else."""

    id: str
    kind: Kind
    data: bytes


class Crowd:
    """Submits through a client of its own to the coordinator of ``context``, from a thread."""

    def __init__(self, context: Path, folder: Path) -> None:
        self.submitted: list[Submitted] = []
        self._context = context
        self._folder = folder
        self._end = threading.Event()
        self._failed: Exception | None = None
        self._client = Client.from_context(context)
        self._thread = threading.Thread(target=self._run, name="crowd")

    @contextmanager
    def working(self) -> Iterator[Crowd]:
        """Jobs are submitted while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._end.set()
            self._thread.join()
            if self._failed is not None:
                # Whatever failed in the block: it may have waited for what nobody submitted any more.
                raise self._failed

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                if self._insist(lambda client: len(client.jobs())) >= AT_ONCE:
                    self._end.wait(0.03)
                else:
                    self._submit(KINDS[len(self.submitted) % len(KINDS)])
        except Exception as error:
            self._failed = error

    def _submit(self, kind: Kind) -> None:
        request, data = str(uuid.uuid4()), b""
        spec = pb.JobSpec(
            nodes=kind.nodes,
            placement=kind.placement,
            argv=["sh", "-c", SCRIPT],
            env={"EVIDENCE": str(self._folder), "NAP": str(kind.nap), "CODE": str(kind.code)},
            stop_duration_seconds=1.0,
            # A host's failure, and nothing else, is tried again, as often as it comes.
            retry=pb.RetryPolicy(on_events=[pb.RETRY_EVENT_INTERRUPTION]),
        )
        if kind.files:
            data = f"a file of request {request}\n".encode()
            packed = _packed(data)
            spec.files.CopyFrom(self._insist(lambda client: client.upload_archive(io.BytesIO(packed))))
        job = self._insist(lambda client: client.submit(spec, request))
        self.submitted.append(Submitted(job.id, kind, data))

    def _insist(self, ask):  # type: ignore[no-untyped-def]
        """Ask until there is an answer: the coordinator is away now and then. What it refuses fails the test."""
        while True:
            try:
                return ask(self._client)
            except RallypointError as error:
                if not isinstance(error, Unreachable):
                    raise
                # A new connection: the old one waits ever longer before it tries again.
                self._client.close()
                self._client = Client.from_context(self._context)
                self._end.wait(0.02)

    # --- the reckoning --------------------------------------------------------------------------------------------

    def reckon(self, once: bool) -> Counter[str]:
        """Wait for the end of all jobs and check each; how many there were, of jobs and of attempts.

        ``once``: every node ran in one attempt alone, for nothing that died was the parent of a process.
        """
        eventually(lambda: not self._client.jobs(), 60.0, "the end of all jobs")
        runs = Counter((self._folder / "runs").read_text().splitlines())
        found: Counter[str] = Counter(jobs=len(self.submitted))
        assert len({job.id for job in self.submitted}) == len(self.submitted), "one job for two requests"
        for job in self.submitted:
            found["attempts"] += self._check(job, runs, once)
        assert not runs, f"nobody's: {runs}"
        return found

    def _check(self, submitted: Submitted, runs: Counter[str], once: bool) -> int:
        shown, kind = self._client.job(submitted.id), submitted.kind
        ended = pb.JOB_STATE_FAILED if kind.code else pb.JOB_STATE_DONE
        assert (shown.job.state, shown.job.exit_code) == (ended, kind.code), shown
        assert [node.rank for node in shown.nodes] == list(range(kind.nodes)), shown
        attempts = 0
        for node in shown.nodes:
            attempts += node.attempt
            assert node.exit_code == kind.code, node
            last = f"{submitted.id}.{node.rank}.{node.attempt}"
            for earlier in range(1, node.attempt):
                # Ended by a crash, or a group that was not formed because a member's agent was away: that never ran.
                for word in ("start", "end"):
                    times = runs.pop(f"{word} {submitted.id}.{node.rank}.{earlier}", 0)
                    assert times <= (not once), f"{submitted.id} was started again: {node}"
            assert (runs.pop(f"start {last}", 0), runs.pop(f"end {last}", 0)) == (1, 1), f"{last} did not run once"
            said = submitted.data + "".join(f"{last} says {i}\n" for i in range(LINES)).encode()
            assert self._output(submitted.id, node) == said, f"output of {last} is not what it wrote"
        return attempts

    def _output(self, job: str, node: pb.Node) -> bytes:
        pieces = self._client.tail(job, rank=node.rank, attempt=node.attempt, follow=True)
        return b"".join(piece.data for piece in pieces)


def _packed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("data")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
