"""Reads the GPUs through NVML without ever being held up by it: own process, time limit, back-off."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agent.hardware import problems
from agent.hardware.answer import Answer, GarbledError
from agent.hardware.inventory import Inventory
from agent.hardware.model import GpuReading, Problem
from agent.hardware.worker import Ending, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from agent.hardware.model import GpuEvent


@dataclass(frozen=True, slots=True)
class ProbeTimes:
    """All in seconds. Each hang doubles the pause before the next try, ``hang_pause`` at first."""

    kill_grace: float = 1.0
    retry_driver: float = 300.0
    refresh_lost: float = 60.0
    hang_pause: float = 30.0
    longest_pause: float = 900.0


@dataclass(frozen=True, slots=True)
class _Block:
    """Not to be asked before ``until``: one GPU, or (under the key ``None``) the driver as a whole."""

    problem: Problem
    until: float
    tries: int


class NvmlProbe:
    """Owns the worker process: starts it at the first reading, and ends it where there is no driver to ask.

    ``on_event`` is told what NVML says by itself, as long as there is a worker, whether or not a reading is under way.
    Use it as an async context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        times: ProbeTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_event: Callable[[GpuEvent], None] = lambda event: None,
    ) -> None:
        self._env = env
        self._times = times or ProbeTimes()
        self._clock = clock
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()
        self._inventory = Inventory()
        self._blocks: dict[int | None, _Block] = {}
        self._worker: Worker | None = None
        self._worker_since = 0.0
        self._stale = False
        self._stuck: Worker | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, ``None`` while there is none."""
        return None if self._worker is None else self._worker.pid

    async def read(self, timeout: float = 20.0) -> GpuReading:  # noqa: ASYNC109 - part of the question, not a cancellation
        """The GPUs as they are now, or as last known with the reason why they don't answer.

        Takes ``timeout`` seconds at most, plus ``kill_grace`` when the worker must be killed. The first
        reading on a host without persistence mode may take the driver seconds for each GPU.
        """
        async with self._one_at_a_time:
            if self._stale:
                await self._end_worker()
            waiting = self._not_now()
            return await self._ask(timeout) if waiting is None else self._silent(waiting)

    async def close(self) -> None:
        """End the worker. One that cannot be killed is left to the kernel."""
        async with self._one_at_a_time:
            await self._end_worker()

    def _not_now(self) -> Problem | None:
        """Why the driver is not to be asked at present."""
        if self._stuck is not None:
            if self._stuck.returncode is None:
                # Another worker would only be caught too, and they would pile up.
                return problems.stuck(self._stuck.pid)
            self._stuck = None
        block = self._blocks.get(None)
        return block.problem if block is not None and self._clock() < block.until else None

    async def _ask(self, limit: float) -> GpuReading:
        now = self._clock()
        skip = frozenset(i for i, block in self._blocks.items() if i is not None and now < block.until)
        answer = Answer(next(self._ids), skip)
        try:
            worker = await self._running_worker()
            ending = await worker.ask(answer, limit)
        except (GarbledError, ValueError) as error:
            # ValueError: a line longer than any answer.
            return await self._failed(problems.garbled(str(error)))
        except OSError as error:
            return await self._failed(problems.garbled(f"no process for it could be started: {error}"))
        if ending is Ending.HUNG:
            return await self._broke_off(answer, problems.hung(limit, answer.waiting_for))
        if ending is Ending.CRASHED:
            return await self._broke_off(answer, problems.crashed(worker.returncode or 0, answer.waiting_for))
        if answer.error is not None:
            return await self._failed(problems.driver_problem(answer.error))
        return self._answered(answer)

    def _answered(self, answer: Answer) -> GpuReading:
        old = self._clock() - self._worker_since >= self._times.refresh_lost
        # NVML goes on calling a GPU lost, even once it is back, until it is initialised anew. Not before the next
        # reading, though: without a worker nobody hears of the other GPUs' events.
        self._stale = old and any(gpu.problem for gpu in answer.gpus)
        return self._reading(answer)

    async def _broke_off(self, answer: Answer, problem: Problem) -> GpuReading:
        """The answer stopped at one GPU, which is then left alone for a while, or before any."""
        worker, self._worker = self._worker, None
        if worker is not None and not await worker.kill(self._times.kill_grace):
            self._stuck = worker
            return self._silent(problems.stuck(worker.pid))
        self._block(answer.waiting_for, problem)
        return self._silent(problem) if answer.waiting_for is None else self._reading(answer)

    async def _failed(self, problem: Problem) -> GpuReading:
        """NVML cannot serve at all: the worker would only cost memory until the next try."""
        await self._end_worker()
        self._blocks[None] = _Block(problem, self._clock() + self._times.retry_driver, 0)
        return self._silent(problem)

    def _block(self, index: int | None, problem: Problem) -> None:
        before = self._blocks.get(index)
        tries = 0 if before is None else before.tries + 1
        pause = min(self._times.hang_pause * 2.0 ** min(tries, 30), self._times.longest_pause)
        self._blocks[index] = _Block(problem, self._clock() + pause, tries)

    def _reading(self, answer: Answer) -> GpuReading:
        """What a driver that answers at all has told; whoever told it is no longer blocked."""
        heard = {gpu.index for gpu in answer.gpus}
        for index in [None, *self._blocks]:
            if index is None or index in heard or (answer.done and index not in answer.skip):
                self._blocks.pop(index, None)
        blocked = {i: block.problem for i, block in self._blocks.items() if i is not None}
        gpus = self._inventory.take(answer.gpus, blocked, complete=answer.done)
        return GpuReading(gpus, answer.driver_version, answer.cuda_version)

    def _silent(self, problem: Problem) -> GpuReading:
        return GpuReading(self._inventory.all_silent(problem), problem=problem)

    async def _running_worker(self) -> Worker:
        if self._worker is None or self._worker.returncode is not None:
            self._worker = await Worker.start(self._env, self._on_event)
            self._worker_since = self._clock()
        return self._worker

    async def _end_worker(self) -> None:
        worker, self._worker, self._stale = self._worker, None, False
        if worker is not None and not await worker.end(self._times.kill_grace):
            self._stuck = worker
