"""``submit --local``: a coordinator and an agent on this machine for one job, in a folder that goes when they go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
_ANY_PORT = "127.0.0.1:0"


@contextmanager
def local_cluster(spec: JobSpec) -> Iterator[Client]:
    """A client of a cluster of this one machine, ready for ``spec``. Raises ``CommandFailed`` when it can't be made."""
    from coordinator.client import Client

    if sys.platform != "linux":
        raise CommandFailed("--local needs Linux, where agents run; submit to a coordinator instead", exits.REFUSED)
    with _ended_in_order(), ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="rallypoint-", ignore_cleanup_errors=True))
        )
        data, state = folder / "coordinator", folder / "agent"
        serve = _start(folder, "coordinator", "serve", "--data-dir", str(data), "--listen", _ANY_PORT, "--http", "off")
        stack.callback(serve.stop)
        context = data / "admin.toml"
        # Written last: once it is there, the coordinator answers.
        serve.until((data / "endpoints.json").exists, "starting")
        client = stack.enter_context(Client.from_context(context))
        _join(client, state)
        agent = _start(
            folder, "agent", "run", "--state-dir", str(state), "--peer-listen", _ANY_PORT, "--cpus", _cpus(spec)
        )
        stack.callback(agent.stop)
        agent.until(lambda: _online(client), "coming online")
        yield client


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


def _cpus(spec: JobSpec) -> str:
    # A group must be on one machine here, however small: it is for trying, and CPUs are only counted, not handed out.
    wanted = spec.nodes * (spec.resources.cpus.min or 1) if spec.placement is Placement.CLUSTER else 1
    return str(max(os.cpu_count() or 1, wanted))


def _join(client: Client, state: Path) -> None:
    token = client.create_token(ttl=_TOKEN_SECONDS, uses=1).token
    command = [sys.executable, "-m", "agent", "join", client.address, "--token-file", "-", "--state-dir", str(state)]
    command += ["--name", "local"]
    joined = subprocess.run(command, input=token, text=True, capture_output=True, env=_environment(), check=False)
    if joined.returncode:
        raise CommandFailed(f"--local: the agent can't join: {joined.stderr.strip()}", exits.INTERNAL)


def _online(client: Client) -> bool:
    return any(host.state == pb.HOST_STATE_ONLINE for host in client.hosts().hosts)


def _environment() -> dict[str, str]:
    # Settings meant for a real coordinator or agent must not reach these two.
    return {key: value for key, value in os.environ.items() if not key.startswith("RALLYPOINT_")}


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


def _start(folder: Path, program: str, *arguments: str) -> _Program:
    log = folder / f"{program}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us; we end them in order
        )
    return _Program(program, process, log)
