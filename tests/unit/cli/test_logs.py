"""``coordinator logs``: which attempt, and output for programs."""

from __future__ import annotations

import base64
import json

import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer, ended_job
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def job(server: JobServer) -> JobServer:
    """A job of two nodes, one of which was tried twice."""
    record = ended_job(pb.JOB_STATE_DONE)
    record.spec.nodes = 3
    server.canned.jobs = [record]
    server.canned.nodes = [pb.Node(rank=0, attempt=1), pb.Node(rank=1, attempt=2)]
    return server


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--attempt", "9"), "has no attempt 9 of any node: the latest is 2; leave --attempt out for the latest"),
        (("--attempt", "2", "--node", "0"), "has no attempt 2 of node 0: the latest is 1; leave --attempt out"),
        (("--attempt", "1", "--node", "2"), "has no attempt 1 of node 2: none was made yet; leave --attempt out"),
    ],
)
def test_an_attempt_that_never_was(job: JobServer, command: Command, options: tuple[str, ...], text: str) -> None:
    result = command("logs", "digits", *options)
    assert (result.code, result.out) == (66, "")
    assert result.err.startswith(f"Error: job j-1 {text}")
    assert not job.canned.requests("TailLogs")


def test_an_earlier_attempt(job: JobServer, command: Command) -> None:
    assert command("logs", "digits", "--attempt", "1", "--node", "1").code == 0
    assert job.canned.requests("TailLogs") == [job_pb.TailLogsRequest(job="j-1", rank=1, attempt=1)]


def test_output_for_programs_is_a_document_a_line(job: JobServer, command: Command) -> None:
    job.canned.logs = [
        job_pb.TailLogsResponse(rank=0, attempt=1, offset=0, data="one\n…".encode()),
        job_pb.TailLogsResponse(rank=1, attempt=2, offset=7, data=b"\xff\x00"),
    ]
    first, second = (json.loads(line) for line in command("logs", "digits", "--json").out.splitlines())
    assert first == {"version": 1, "rank": 0, "attempt": 1, "offset": 0, "text": "one\n…"}
    assert second["offset"] == 7
    assert base64.b64decode(second["base64"]) == b"\xff\x00"
    assert "text" not in second


GAP = job_pb.TailLogsResponse(rank=0, attempt=1, offset=110, dropped_bytes=100, drop_reason="the host's log limit")


def test_a_gap_is_told_beside_the_output(job: JobServer, command: Command) -> None:
    before = job_pb.TailLogsResponse(rank=0, attempt=1, offset=0, data=b"0123456789")
    job.canned.logs = [before, GAP, job_pb.TailLogsResponse(rank=0, attempt=1, offset=110, data=b"after\n")]
    result = command("logs", "digits", "--node", "0")
    assert result.out == "0123456789after\n"
    assert result.err == "[100 bytes of output dropped here: the host's log limit]\n"
    ranked = command("logs", "digits")
    assert ranked.out == "[0] 0123456789\n[0] after\n", "a line that lost its end is not continued"
    assert ranked.err == "[0] [100 bytes of output dropped here: the host's log limit]\n"


def test_a_gap_for_programs(job: JobServer, command: Command) -> None:
    job.canned.logs = [GAP]
    place = {"version": 1, "rank": 0, "attempt": 1, "offset": 10}
    expected = {**place, "dropped_bytes": 100, "drop_reason": "the host's log limit"}
    assert json.loads(command("logs", "digits", "--json").out) == expected


def test_a_gap_that_has_grown_while_the_coordinator_was_away_is_told_once(job: JobServer, command: Command) -> None:
    grown = job_pb.TailLogsResponse(rank=0, attempt=1, offset=150, dropped_bytes=150, drop_reason="the limit")
    job.canned.logs = [GAP, job_pb.TailLogsResponse(rank=0, attempt=1, offset=110, data=b"x" * 10), grown]
    job.canned.cut_logs_after = [2]
    result = command("logs", "digits", "--node", "0")
    assert result.out == "x" * 10
    assert result.err.count("dropped here") == 2
    assert "[30 bytes of output dropped here: the limit]" in result.err


def test_the_last_lines(job: JobServer, command: Command) -> None:
    assert command("logs", "digits", "--tail", "5").code == 0
    assert job.canned.requests("TailLogs") == [job_pb.TailLogsRequest(job="j-1", tail_lines=5)]
