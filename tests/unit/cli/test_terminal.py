"""On a terminal: a status line that never spoils the output, colours for ranks, tables that fit."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading

import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer, ended_job

pytestmark = pytest.mark.timeout(60)


def on_a_terminal(server: JobServer, *arguments: str, until: bytes = b"") -> str:
    """Everything that a command prints on a terminal; ``hold_logs`` is let go once ``until`` was seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "coordinator", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "RALLYPOINT_CONTEXT": str(server.context), "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed: the command has ended
            break
        seen += piece
        if server.canned.hold_logs is not None and until in seen:
            server.canned.hold_logs.set()
    os.close(ours)
    assert process.wait(timeout=20) in (0, 3), seen
    return seen.decode()


def test_follow_with_status_line_and_colours(server: JobServer) -> None:
    job = ended_job(pb.JOB_STATE_DONE)
    running = ended_job(pb.JOB_STATE_RUNNING)
    running.counts.running = 2
    server.canned.jobs, server.canned.watched = [job], [running]
    server.canned.logs = [job_pb.TailLogsResponse(rank=1, data=b"hello\nhalf")]
    server.canned.hold_logs = threading.Event()
    status = "job j-1 (digits): running, 2 running"
    seen = on_a_terminal(server, "submit", "--nodes", "2", "--", "x", until=status.encode())
    assert status in seen
    assert "\x1b[33m[1]\x1b[0m hello\r\n" in seen
    assert "\x1b[33m[1]\x1b[0m half\r\n" in seen
    # Each time the status gives way to output or to the last line, it is wiped away first.
    for shown in seen.split(status)[1:]:
        assert shown.startswith(("\r\x1b[2K", "\x1b[0m"))
    assert seen.endswith("job j-1 (digits): done after 12s\r\n")


def test_a_table_on_a_terminal(server: JobServer) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_FAILED, reason="rank 0 exited with 3")]
    seen = on_a_terminal(server, "ps")
    assert "\x1b[31mfailed\x1b[0m" in seen
    assert "rank 0 exited with 3" in seen
