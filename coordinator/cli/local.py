"""``submit --local``: a coordinator and an agent on this machine for one job, in a folder that goes when they go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rallypoint.v1 import types_pb2 as pb

from coordinator.cli import exits
from coordinator.cli.reporting import CommandFailed
from coordinator.core.spec import Placement

if TYPE_CHECKING:
    from coordinator.client import Client
    from coordinator.core.spec import JobSpec

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_TOKEN_SECONDS = 300.0
_MAX_HOSTS = 16
_ANY_PORT = "127.0.0.1:0"


@contextmanager
def local_cluster(spec: JobSpec) -> Iterator[Client]:
    """A client of a cluster of this one machine, ready for ``spec``. Raises ``CommandFailed`` when it can't be made."""
    from coordinator.client import Client

    if sys.platform != "linux":
        raise CommandFailed("--local needs Linux, where agents run; submit to a coordinator instead", exits.REFUSED)
    hosts = _hosts(spec)
    with _ended_in_order(), ExitStack() as stack:
        folder = Path(stack.enter_context(_folder()))
        data = folder / "coordinator"
        serve = _start(
            folder / "coordinator.log",
            "coordinator",
            "serve",
            "--data-dir",
            data,
            "--listen",
            _ANY_PORT,
            "--http",
            "off",
        )
        stack.callback(serve.stop)
        # Written last: once it is there, the coordinator answers.
        serve.until((data / "endpoints.json").exists, "starting")
        client = stack.enter_context(Client.from_context(data / "admin.toml"))
        token = client.create_token(ttl=_TOKEN_SECONDS, uses=hosts).token
        agents: list[_Program] = []
        stack.callback(_stop_all, agents)
        for number in range(1, hosts + 1):
            agents.append(_agent(client.address, token, folder / f"local-{number}"))
        agents[-1].until(lambda: _online(client) == hosts, "coming online")
        stack.callback(_end_jobs, client)
        yield client


def _stop_all(programs: list[_Program]) -> None:
    for program in programs:
        program.process.terminate()
    for program in programs:
        program.stop()


def _end_jobs(client: Client) -> None:
    # Work outlives an agent that stops: whatever still runs when we are told to leave is ended first.
    for job in client.jobs():
        client.stop(job.id, abort=True)
        with suppress(TimeoutError):
            client.wait(job.id, _STOP_SECONDS)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A request to terminate leaves nothing behind: it unwinds as Ctrl-C does."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hosts(spec: JobSpec) -> int:
    # A group has one node a host, so it gets as many agents; independent nodes share one.
    hosts = spec.nodes if spec.placement is Placement.CLUSTER else 1
    if hosts > _MAX_HOSTS:
        text = f"--local starts an agent for each node of a group, at most {_MAX_HOSTS}; ask for fewer nodes"
        raise CommandFailed(text, exits.REFUSED)
    return hosts


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rallypoint-", ignore_cleanup_errors=True)


def _agent(address: str, token: str, state: Path) -> _Program:
    join = [sys.executable, "-m", "agent", "join", address, "--token-file", "-", "--name", state.name]
    joined = subprocess.run(
        [*join, "--state-dir", str(state)], input=token, text=True, capture_output=True, env=_environment(), check=False
    )
    if joined.returncode:
        raise CommandFailed(f"--local: the agent can't join: {joined.stderr.strip()}", exits.INTERNAL)
    return _start(state.with_suffix(".log"), "agent", "run", "--state-dir", state, "--peer-listen", _ANY_PORT)


def _online(client: Client) -> int:
    return sum(host.state == pb.HOST_STATE_ONLINE for host in client.hosts().hosts)


def _environment() -> dict[str, str]:
    # Settings meant for a real coordinator or agent must not reach these two. Nodes run as whoever asked for them.
    own = {key: value for key, value in os.environ.items() if not key.startswith("RALLYPOINT_")}
    return {**own, "RALLYPOINT_AGENT_TASK_USER": str(os.geteuid())}


@dataclass(frozen=True, slots=True)
class _Program:
    """A coordinator or an agent that runs for us."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def until(self, ready: Callable[[], bool], doing: str) -> None:
        """Wait until it is ready. Raises ``CommandFailed`` with what it said last when it ends or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"took longer than {_START_SECONDS:.0f} s"
                raise CommandFailed(
                    f"--local: the {self.name} {what} while {doing}: {self._last_words()}", exits.INTERNAL
                )
            time.sleep(0.02)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End it: politely, then by force."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _start(log: Path, program: str, *arguments: str | Path) -> _Program:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us; we end them in order
        )
    return _Program(program, process, log)
