"""A real `agent run`, with its spawner, in a state directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent.spawner import procs
from tests.fakes.spawner_client import end_marked, kill_spawner, spawner_below, spawners_of


def spawner_of(state_dir: Path) -> int | None:
    """The pid of the spawner of this state directory, if one lives."""
    reaper = reaper_of(state_dir)
    return None if reaper is None else spawner_below(reaper)


def reaper_of(state_dir: Path) -> int | None:
    """The pid of the reaper above that spawner, if one lives."""
    for pid in spawners_of(state_dir):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "task-reaper\n":
                return pid
    return None


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    process = procs.look(pid)
    return process is not None and process.alive


class AgentProcess:
    """Starts, kills and ends one agent; what it logs is in ``state_dir/agent.err``.

    ``within`` is put before its command.
    """

    def __init__(self, state_dir: Path, *options: str, within: Sequence[str] = ()) -> None:
        self._within = within
        self.state_dir = state_dir
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **environ: str) -> None:
        """Start it; it is not waited for."""
        with open(self.state_dir / "agent.err", "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._within, sys.executable),
                *("-m", "agent", "run", "--state-dir", str(self.state_dir)),
                *(() if "--peer-listen" in self._options else ("--peer-listen", "127.0.0.1:0")),
                *self._options,
                stderr=log,
                env={**os.environ, **environ},
            )

    async def kill(self, number: int = signal.SIGKILL) -> int:
        """Send it a signal and wait for its end; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()

    async def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def pid(self) -> int:
        """Of the agent."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self.state_dir / "agent.err").read_text()

    def spawner_pid(self) -> int | None:
        """Of its spawner, if one lives."""
        return spawner_of(self.state_dir)

    async def end(self) -> None:
        """End it and its spawner, whatever they do."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        await asyncio.to_thread(kill_spawner, self.state_dir)
        end_marked(self.state_dir)
        # What an agent that is killed leaves outside of its directories.
        for link in Path("/tmp").glob("rallypoint-*"):
            if link.is_symlink() and os.readlink(link).startswith(f"{self.state_dir}/"):
                link.unlink()


@asynccontextmanager
async def agent(
    state_dir: Path, *options: str, within: Sequence[str] = (), **environ: str
) -> AsyncIterator[AgentProcess]:
    """A running agent, gone afterwards."""
    process = AgentProcess(state_dir, *options, within=within)
    await process.start(**environ)
    try:
        yield process
    except AssertionError as error:
        error.add_note(process.log[-4000:])
        raise
    finally:
        await process.end()
