"""A whole cluster of real processes: one coordinator, agents on many hosts, and the commands of a user.

Hosts are where ``enter`` leads: namespaces of a ``net.Site``, or nothing at all for agents beside each other on the
loop-back.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.multihost.nursery import COMMANDS, Nursery
from tests.multihost.processes import BIN, Program, environment
from tests.support import eventually

JOIN_SECONDS = 30.0
COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Agent:
    """A host's agent, and the folder that holds its ``state`` and its user's ``home``."""

    name: str
    folder: Path
    program: Program

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self.folder / "state"

    @property
    def home(self) -> Path:
        """Where ``~`` is for its tasks."""
        return self.folder / "home"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode(errors="replace")

    @property
    def json(self) -> Any:
        """Standard output, read."""
        return json.loads(self.out)


@dataclass(slots=True)
class Cluster:
    """A coordinator at ``address`` and its agents. ``enter`` leads to where coordinator and commands run.

    ``program`` makes what is started and started again, ``serves`` is what the coordinator's command line begins with.
    """

    folder: Path
    address: str = "127.0.0.1"
    enter: Sequence[str] = ()
    options: Sequence[str] = ()
    serves: Sequence[str] = (str(BIN / "coordinator"),)
    env: Mapping[str, str] = field(default_factory=dict)
    program: Callable[[Sequence[str], Mapping[str, str], Path], Program] = Program
    agents: dict[str, Agent] = field(default_factory=dict)
    _coordinator: Program | None = field(default=None, repr=False)
    _commands: Nursery | None = field(default=None, repr=False)

    def __enter__(self) -> Cluster:
        """Start the coordinator; whatever fails after, all that was started is ended."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- coordinator ----------------------------------------------------------------------------------------------

    @property
    def data_dir(self) -> Path:
        """The coordinator's."""
        return self.folder / "coordinator"

    @property
    def context(self) -> Path:
        """The admin's context file."""
        return self.data_dir / "admin.toml"

    @property
    def endpoints(self) -> Any:
        """What the coordinator wrote down at its start."""
        return json.loads((self.data_dir / "endpoints.json").read_text())

    @property
    def coordinator(self) -> Program:
        """The coordinator's process."""
        assert self._coordinator is not None
        return self._coordinator

    def start(self, greeting: str = "join a host") -> None:
        """Start the coordinator on free ports, or again on the ports that it had, until it says ``greeting``."""
        known = self.endpoints if (self.data_dir / "endpoints.json").exists() else {}
        ports = {"--listen": "api", "--agent-listen": "agents"}
        where = [word for option, key in ports.items() for word in (option, known.get(key, f"{self.address}:0"))]
        command = [*self.enter, *self.serves, "serve", "--data-dir", str(self.data_dir), *where]
        command += ["--http", f"{self.address}:0", *self.options]
        self._coordinator = self.program(command, environment(self.folder, self.env), self.folder / "coordinator.log")
        before = self.said(greeting)
        self._coordinator.start()
        eventually(lambda: self.said(greeting) > before, JOIN_SECONDS, f"a coordinator that says {greeting!r}")

    def said(self, words: str) -> int:
        """How often the coordinator, which must not have ended, said ``words``."""
        if self._coordinator is not None and self._coordinator.ended() is not None:
            pytest.fail(f"the coordinator ended by itself:\n{self._coordinator.tail()}")
        log = self.folder / "coordinator.log"
        return log.read_text().count(words) if log.exists() else 0

    # --- agents ---------------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        enter: Sequence[str] = (),
        *,
        join: Sequence[str] = (),
        run: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        at: str = "",
    ) -> Agent:
        """Join the host ``name``, ``at`` this address, and start its agent.

        ``join`` and ``run`` are more options, ``env`` is the agent's.
        """
        folder = self.folder / name
        (folder / "home").mkdir(parents=True)
        state = ["--state-dir", str(folder / "state")]
        words = [
            *enter,
            str(BIN / "agent"),
            "join",
            at or self.endpoints["join"],
            "--token-file",
            self._token(),
            *state,
        ]
        joined = subprocess.run(
            [*words, "--name", name, *join], env=environment(folder / "home"), capture_output=True, check=False
        )
        assert joined.returncode == 0, joined.stderr.decode()
        command = [*enter, str(BIN / "agent"), "run", *state, *run]
        program = self.program(command, environment(folder / "home", env), folder / "agent.log")
        program.start()
        self.agents[name] = Agent(name, folder, program)
        return self.agents[name]

    def remove(self, name: str) -> None:
        """Stop an agent and have the coordinator forget its host."""
        self.agents.pop(name).program.stop()
        self.run("host", "remove", name)

    def _token(self) -> str:
        """A file with a token for any number of hosts."""
        path = self.folder / "token"
        if not path.exists():
            path.touch(0o600)
            path.write_text(self.run("token", "create", "--uses", "0").text)
        return str(path)

    def hosts(self) -> dict[str, Any]:
        """All hosts by name, as ``coordinator hosts --json`` tells them."""
        return {host["name"]: host for host in self.run("hosts", "--json").json["hosts"]}

    def networks(self) -> list[list[str]]:
        """The networks that were seen: the names of their hosts, sorted."""
        return sorted(sorted(network["host_names"]) for network in self.run("hosts", "--json").json["networks"])

    def await_networks(self, *expected: Sequence[str]) -> None:
        """Wait until exactly these networks are seen."""
        wanted = sorted(sorted(names) for names in expected)
        eventually(lambda: self.networks() == wanted, JOIN_SECONDS, f"networks {wanted}")

    # --- commands -------------------------------------------------------------------------------------------------

    def command(self, *words: str) -> list[str]:
        """The whole command line of a user's command."""
        return [*self.enter, str(BIN / "coordinator"), "--context", str(self.context), *words]

    def run(self, *words: str, check: bool = True, timeout: float = COMMAND_SECONDS, cwd: Path | None = None) -> Ended:
        """Run a user's command to its end; ``check`` fails the test when its code is not 0."""
        if self._commands is None:
            self._commands = Nursery(COMMANDS, self.enter)
        command = self.command(*words)[len(self.enter) :]
        code, out, err = self._commands.run(command, environment(self.folder), timeout, cwd)
        ended = Ended(code, out, err.decode(errors="replace"))
        if check and ended.code:
            pytest.fail(f"coordinator {' '.join(words)} ended with {ended.code}: {ended.err}\n{ended.text}")
        return ended

    def submit(self, *words: str) -> str:
        """Submit without waiting; the job's id."""
        return self.run("submit", "--detach", *words).text.strip()

    @contextmanager
    def submitting(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A ``submit`` that follows its job while the block runs."""
        command = self.command("submit", *words)
        env = environment(self.folder)
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def shell(self, script: str, *options: str) -> str:
        """Submit ``sh -c script``; the job's id."""
        return self.submit(*options, "--", "sh", "-c", script)

    def show(self, job: str) -> Any:
        """The job and its nodes: ``{"job": …, "nodes": […]}``."""
        return self.run("show", job, "--json").json

    def nodes(self, job: str) -> list[Any]:
        """The job's nodes in rank order."""
        return sorted(self.show(job)["nodes"], key=lambda node: int(node["rank"]))

    def logs(self, job: str, rank: int) -> bytes:
        """One node's output, as it was written."""
        return self.run("logs", job, "--node", str(rank)).out

    def await_output(self, job: str, rank: int, word: bytes) -> bytes:
        """Wait until a node's output has ``word``; all of it so far. The job need not be known yet."""

        def found() -> bytes:
            output = self.run("logs", job, "--node", str(rank), check=False).out
            return output if word in output else b""

        return eventually(found, what=f"{word!r} from {job} node {rank}")

    def await_state(self, job: str, state: str) -> None:
        """Wait until the job is ``running``, ``done``, …"""
        eventually(lambda: self.show(job)["job"]["state"] == state, what=f"{job} to be {state}")

    def wait(self, job: str, timeout: float = COMMAND_SECONDS) -> int:
        """Wait for the job's end; its exit code."""
        return self.run("wait", job, check=False, timeout=timeout).code

    def stop_all(self) -> None:
        """Abort whatever runs or waits, and wait for its end."""
        for job in self.run("ps", "--json").json["jobs"]:
            self.run("stop", job["id"], check=False)
            self.run("wait", job["id"], "--timeout", "30s", check=False)

    # --- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop all processes; each must end by itself when told to."""
        programs = [agent.program for agent in self.agents.values()]
        for program in [*programs, *([self._coordinator] if self._coordinator else [])]:
            program.stop()
        if self._commands is not None:
            self._commands.close()
            self._commands = None

    def report(self) -> str:
        """The ends of all logs, for a failure."""
        named = {"coordinator": self.folder / "coordinator.log"}
        named |= {name: agent.folder / "agent.log" for name, agent in self.agents.items()}
        parts = [f"--- {name} ---\n{Program((), {}, log).tail(40)}" for name, log in named.items()]
        return "\n".join(parts)
