"""The worker process as seen from the agent: start it, ask it within a time limit, and get rid of it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import TYPE_CHECKING

from agent.hardware.answer import heard_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.hardware.answer import Answer
    from agent.hardware.model import GpuEvent

_SCRIPT = Path(__file__).with_name("nvml_worker.py")


class Ending(enum.Enum):
    """How a question to the worker ended; anything but ``ANSWERED`` leaves it of no further use."""

    ANSWERED = "answered"
    HUNG = "hung"
    CRASHED = "crashed"


class Worker:
    """One running worker process. Made by :meth:`start`; ended by :meth:`end`."""

    def __init__(self, process: Process, on_event: Callable[[GpuEvent], None]) -> None:
        self._process = process
        self._on_event = on_event
        # What it said in answer; an error is one of reading it.
        self._lines: asyncio.Queue[bytes | ValueError] = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, env: Mapping[str, str] | None, on_event: Callable[[GpuEvent], None]) -> Worker:
        """Start a worker with the environment ``env``, by default the agent's own.

        ``on_event`` is called whenever NVML says something by itself.

        Raises:
            OSError: no process can be started.
        """
        # A session of its own: Ctrl-C at the terminal is for the agent, which then ends the worker itself.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(_SCRIPT),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=env,
            start_new_session=True,
        )
        return cls(process, on_event)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """``None`` while the process is there, be it only as one that cannot be killed."""
        return self._process.returncode

    async def ask(self, answer: Answer, limit: float) -> Ending:
        """Ask for a reading and let ``answer`` hear it, for at most ``limit`` seconds.

        Raises:
            GarbledError: what came back is no answer.
        """
        request = {"id": answer.request_id, "skip": sorted(answer.skip), "limit": limit}
        try:
            async with asyncio.timeout(limit):
                return await self._converse(json.dumps(request).encode() + b"\n", answer)
        except TimeoutError:
            return Ending.HUNG

    async def _converse(self, request: bytes, answer: Answer) -> Ending:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(ConnectionError):
            # A worker that is gone shows in its output's end, below.
            stdin.write(request)
            await stdin.drain()
        while not answer.done:
            line = await self._lines.get()
            if isinstance(line, ValueError):
                raise line
            if not line.endswith(b"\n"):
                await self._process.wait()
                return Ending.CRASHED
            answer.hear(line)
        return Ending.ANSWERED

    async def _listen(self) -> None:
        """Take in all that it says, until it ends: events come at any time."""
        assert self._process.stdout is not None
        line = b"\n"
        while line.endswith(b"\n"):
            try:
                line = await self._process.stdout.readline()
                event = heard_event(line) if line.startswith(b'{"event"') else None
            except ValueError as error:
                # A line longer than any answer, or one that is none: either way it is of no further use.
                self._lines.put_nowait(error)
                return
            if event is None:
                self._lines.put_nowait(line)
            else:
                self._on_event(event)

    async def end(self, grace: float) -> bool:
        """End the worker; after ``grace`` seconds kill it, and after as many again give up on it.

        Returns whether it is gone. It is not when it sleeps inside the driver, where no signal reaches it.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self._gone(grace) or await self.kill(grace)

    async def kill(self, grace: float) -> bool:
        """Kill the worker; returns whether it is gone ``grace`` seconds later at the latest."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._gone(grace)

    async def _gone(self, grace: float) -> bool:
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            return False
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        return True
