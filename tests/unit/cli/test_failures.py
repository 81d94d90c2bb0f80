"""Every failure is one line with the way out and its own exit code; never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from coordinator.access.ca import load_or_create
from coordinator.access.context import write_context
from coordinator.client import Client
from coordinator.context import Context, load_context
from coordinator.failures import NotFound
from tests.fakes.job_server import USER_TOKEN, JobServer, ended_job, refuse
from tests.support import eventually
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)


def other(context: Path, path: Path, **changes: object) -> str:
    """A context file that differs from a good one."""
    good = load_context(context)
    fields = {name: getattr(good, name) for name in ("address", "cluster_id", "ca_pem", "token")} | changes
    write_context(path, Context(**fields))
    return str(path)


def test_nobody_answers(server: JobServer, command: Command, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = command("ps", "--context", other(server.context, tmp_path / "c.toml", address=address))
    assert result.code == 69
    assert result.err == (
        f"Error: no coordinator answers at {address} (connection refused); start it with 'coordinator serve',"
        " or choose another one with --context\n"
    )


def test_a_coordinator_of_another_ca(server: JobServer, command: Command, tmp_path: Path) -> None:
    strange = load_or_create(tmp_path / "strange", 1_000_000_000).certificate_pem
    result = command("ps", "--context", other(server.context, tmp_path / "c.toml", ca_pem=strange))
    assert result.code == 69
    assert "is not the coordinator of your context file (its certificate is of another CA); copy the" in result.err


@contextmanager
def plain_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_something_else_answers(server: JobServer, command: Command, tmp_path: Path) -> None:
    with plain_server() as address:
        result = command("ps", "--context", other(server.context, tmp_path / "c.toml", address=address))
    assert result.code == 69
    assert f"what answers at {address} is no coordinator (TLS failed); check the address in" in result.err


def test_a_token_that_is_not_known(server: JobServer, command: Command, tmp_path: Path) -> None:
    result = command("ps", "--context", other(server.context, tmp_path / "c.toml", token="rpu-wrong"))
    assert (result.code, result.err) == (77, "Error: the token is not known; get a new one\n")
    assert USER_TOKEN not in result.err


def test_no_such_job(server: JobServer, command: Command) -> None:
    for arguments in (["show", "nope"], ["logs", "nope"], ["stop", "nope"], ["wait", "nope"], ["explain", "nope"]):
        result = command(*arguments)
        assert result.code == 66, arguments
        assert result.err == "Error: there is no job 'nope'; 'coordinator ps --all' lists them\n"


def test_no_context_at_all(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RALLYPOINT_CONTEXT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    result = command("ps")
    assert result.code == 78
    assert "no coordinator is known here" in result.err
    assert "start one with 'coordinator serve', or name a context file with --context" in result.err


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "text"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", 77, "a viewer may not stop jobs"),
        (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", 74, "job j-1 has ended already"),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 70, "failed: boom; its log says more"),
    ],
)
def test_refusals(
    server: JobServer, command: Command, code: grpc.StatusCode, reason: str, exit_code: int, text: str
) -> None:
    message = "boom" if code is grpc.StatusCode.INTERNAL else text
    server.canned.interrupts["StopJob"] = [refuse(code, reason, message)]
    result = command("stop", "j-1")
    assert result.code == exit_code
    assert text in result.err
    assert result.err.count("\n") == 1


def test_stop(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_STOPPING), pb.Job(id="j-2", name="b", state=pb.JOB_STATE_STOPPING)]
    assert command("stop", "j-1", "b", "--signal", "sigint").err == (
        "job j-1 (digits): stopping\njob j-2 (b): stopping\n"
    )
    assert server.canned.requests("StopJob")[1] == job_pb.StopJobRequest(job="b", signal="INT")
    command("stop", "j-1", "--abort")
    assert server.canned.requests("StopJob")[2] == job_pb.StopJobRequest(job="j-1", abort=True)
    assert "did you mean TERM?" in command("stop", "j-1", "--signal", "TREM").err
    assert command("stop", "j-1", "--signal", "INT", "--abort").code == 2


def test_wait_gives_up_but_the_job_goes_on(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_RUNNING)]
    server.canned.hold_logs = threading.Event()
    result = command("wait", "j-1", "--timeout", "0.3")
    assert (result.code, result.err) == (75, "Error: job j-1 has not ended within 0.3 s; it goes on\n")


def test_logs_of_one_node_are_its_bytes(server: JobServer, command: Command) -> None:
    job = ended_job(pb.JOB_STATE_DONE)
    job.spec.nodes = 2
    server.canned.jobs = [job]
    server.canned.logs = [
        job_pb.TailLogsResponse(rank=0, data=b"zero\n"),
        job_pb.TailLogsResponse(rank=1, data=b"one"),
    ]
    assert command("logs", "j-1").out == "[0] zero\n[1] one\n"
    assert command("logs", "j-1", "--node", "1").out == "one"


def test_a_closed_pipe_ends_quietly(server: JobServer) -> None:
    job = ended_job(pb.JOB_STATE_DONE)
    server.canned.jobs = [job]
    server.canned.logs = [job_pb.TailLogsResponse(offset=n * 70000, data=b"x" * 70000) for n in range(20)]
    script = f"{sys.executable} -m coordinator --context {server.context} logs j-1 | head -c 5; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "xxxxx141\n"
    assert done.stderr == ""


def test_a_bug_is_one_line_too(server: JobServer, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    server.canned.jobs = [pb.Job(id="j-1", submitted_at=float("nan"))]
    result = command("ps")
    assert result.code == 70
    assert result.err.startswith("Error: this is a bug in the command (ValueError: ")
    assert result.err.endswith("; set RALLYPOINT_DEBUG=1 for details and report it\n")


def test_the_client_for_programs(server: JobServer) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_DONE)]
    with Client.from_context(server.context) as client:
        assert [job.id for job in client.jobs()] == ["j-1"]
        assert client.wait("j-1").state == pb.JOB_STATE_DONE
        with pytest.raises(NotFound) as caught:
            client.job("nope")
    assert caught.value.reason == "NOT_FOUND"
    eventually(lambda: server.canned.requests("GetJob"))
