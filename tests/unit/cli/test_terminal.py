"""On a terminal: a status line that never spoils the output, colours for ranks, tables that fit."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from coordinator.cli.fitting import GAP, fit
from tests.fakes.job_server import JobServer, ended_job

pytestmark = pytest.mark.timeout(60)


def on_a_terminal(server: JobServer, *arguments: str, until: bytes = b"", columns: int = 120) -> str:
    """Everything that a command prints on a terminal; ``hold_logs`` is let go once ``until`` was seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "coordinator", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "RALLYPOINT_CONTEXT": str(server.context), "TERM": "xterm", "COLUMNS": str(columns)},
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


def a_host(name: str, warning: str = "") -> pb.Host:
    host = pb.Host(id="h-1", name=name, state=pb.HOST_STATE_ONLINE, network="net-1", warning=warning)
    host.facts.backend, host.facts.region, host.facts.price_per_hour = "local", "local", 0.4
    host.hardware.cpus, host.hardware.memory_bytes = 2, 47 * 2**29
    for limit in ("cpu", "memory", "shm"):
        getattr(host.hardware.limits, limit).unheld = "no cgroup"
    host.round_trip_seconds, host.agent_version = 0.0017, "0.5.0"
    return host


def test_hosts_fit_a_terminal_of_80_columns(server: JobServer) -> None:
    server.canned.hosts = [a_host("vm"), a_host("vm-2", warning="the disk of its logs is nearly full; free some")]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(server, "hosts", columns=80)).splitlines()
    assert all(len(line) <= 80 for line in lines)
    header = lines[0].split()
    assert header[:3] == ["NAME", "STATE", "NETWORK"], lines
    assert {"MEMORY", "CPUS", "WARNING"} <= set(header), lines
    assert all("0MB/23.5GB" in line for line in lines if line.startswith("vm")), lines
    assert any("too narrow for" in line and "UNHELD" in line for line in lines), lines


TITLES = ("NAME", "NETWORK", "MEMORY", "UNHELD", "WARNING")
ROWS = [("vm", "net-1", "0MB/23.5GB", "cpu, memory, shm", "-"), ("vm-2", "net-1", "0MB/23.5GB", "cpu", "-")]


@pytest.mark.parametrize("width", range(16, 80))
def test_no_word_is_cut_where_columns_can_be_left_out(width: int) -> None:
    widths = fit(TITLES, ROWS, width, ("NAME", "MEMORY", "NETWORK"))
    assert sum(widths.values()) + GAP * (len(widths) - 1) <= width
    assert 0 in widths
    for at, each in widths.items():
        assert each >= max(len(word) for row in (TITLES, *ROWS) for word in row[at].split())


def test_what_says_nothing_goes_first_and_then_what_matters_least() -> None:
    shown = [
        [TITLES[at] for at in fit(TITLES, ROWS, width, ("NAME", "MEMORY", "NETWORK"))] for width in (80, 50, 30, 20)
    ]
    assert shown[0] == list(TITLES)
    assert shown[1:] == [list(TITLES[:4]), list(TITLES[:3]), ["NAME", "MEMORY"]]


def test_all_of_a_table_that_fits_is_as_wide_as_its_cells() -> None:
    assert list(fit(TITLES, ROWS, 80, TITLES).values()) == [4, 7, 10, 16, 7]
