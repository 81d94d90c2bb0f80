"""A host of a cluster of real processes whose agent runs in the background, as `agent start` has it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.join_exit import TOKEN_VARIABLE
from agent.lock import AGENT_LOCK, holder
from agent.supervisor.standing import PID_FILE
from tests.fakes.agent_process import lives
from tests.fakes.spawner_client import end_marked, kill_spawner
from tests.multihost.cluster import Cluster
from tests.multihost.processes import BIN, environment
from tests.support import eventually


@dataclass(frozen=True, slots=True)
class SupervisedHost:
    """One state directory, joined to ``cluster`` under ``name``."""

    cluster: Cluster
    name: str
    folder: Path

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `agent WORDS` for this host, where a join token is in the environment."""
        head, *rest = words
        command = [str(BIN / "agent"), head, "--state-dir", str(self.state), *rest]
        return subprocess.run(
            command,
            env=environment(self.folder, {TOKEN_VARIABLE: "secret"}),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def join(self, *options: str) -> None:
        """Join the cluster."""
        self.folder.mkdir()
        token = self.folder / "token"
        token.touch(0o600)
        token.write_text(self.cluster.run("token", "create").text)
        where = self.cluster.endpoints["join"]
        # For good, however it is started: the usual port may be that of another agent of this machine.
        own = ("--name", self.name, "--peer-listen", "127.0.0.1:0")
        joined = self.agent("join", where, "--token-file", str(token), *own, *options)
        assert joined.returncode == 0, joined.stderr

    def start(self, *options: str) -> None:
        """`agent start` on a free peer port."""
        started = self.agent("start", "--", "--peer-listen", "127.0.0.1:0", *options)
        assert started.returncode == 0, started.stderr

    def status(self) -> Any:
        """What `agent status --json` says."""
        return json.loads(self.agent("status", "--json").stdout)["agent"]

    @property
    def pid(self) -> int | None:
        """Of the agent that has the state directory."""
        return holder(self.state / AGENT_LOCK)

    @property
    def supervisor(self) -> int | None:
        """Of its supervisor."""
        return holder(self.state / PID_FILE)

    def agents(self) -> list[int]:
        """All processes that are `agent run` of this state directory."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"run" in words and b"agent.supervisor" not in words and str(self.state).encode() in words:
                    found.append(int(path.parent.name))
        return [pid for pid in found if lives(pid)]

    def kill(self, pid: int | None) -> None:
        """SIGKILL, and wait for the end."""
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not lives(pid), what=f"the end of {pid}")

    def close(self) -> None:
        """End whatever is left of it."""
        if not self.state.exists():
            return
        self.agent("stop")
        kill_spawner(self.state)
        end_marked(self.state)
