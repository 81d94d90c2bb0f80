"""Who reads output right after an end gets the rest that is on its way; who reads amid a run, or of a lost host, does
not wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.core.events import AllocationStatus, HostReported, JobSubmitted
from coordinator.core.ids import AllocationId, HostId
from coordinator.core.model import EndCause, Phase
from coordinator.core.spec import JobSpec, Placement
from coordinator.engine import Engine
from coordinator.logfiles import Chunk, LogFiles
from coordinator.logstore import LogStore
from coordinator.outputs import Outputs, Selection
from tests.unit.coordinator.test_engine import join, with_engine

pytestmark = pytest.mark.timeout(30)

SPEC = JobSpec(argv=("true",), placement=Placement.ANY, name="work")


def play(folder: Path, scenario: Callable[[Engine, LogStore, AllocationId, HostId, int], Awaitable[None]]) -> None:
    """Play ``scenario`` with one node that runs on one host, in that session."""

    async def test(engine: Engine, *_: object) -> None:
        host = await join(engine)
        job = await engine.post(JobSubmitted(SPEC, "ann", "r1"))
        logs = LogStore(LogFiles(folder))
        try:
            await scenario(engine, logs, AllocationId(f"{job.id}.0.1"), host.id, host.epoch)
        finally:
            await logs.close()

    with_engine(test)


async def read(engine: Engine, logs: LogStore, key: AllocationId) -> bytes:
    job = await engine.job(key.partition(".")[0])
    selection = Selection(job.job.job.id)
    return b"".join([piece.data async for piece in Outputs(engine, logs).pieces(selection, follow=False)])


def status(key: AllocationId, phase: Phase, size: int = 0) -> AllocationStatus:
    ended = phase is Phase.ENDED
    return AllocationStatus(key, phase, 0 if ended else None, EndCause.EXIT if ended else None, log_bytes=size)


def test_the_rest_of_what_has_ended_is_waited_for(tmp_path: Path) -> None:
    async def scenario(engine: Engine, logs: LogStore, key: AllocationId, host: HostId, epoch: int) -> None:
        await logs.append_batch([Chunk(key, 0, b"first, ")])
        await engine.post(HostReported(host, epoch, (status(key, Phase.ENDED, 15),)))
        reader = asyncio.create_task(read(engine, logs, key))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reader), 0.1)
        assert not reader.done()
        await logs.append_batch([Chunk(key, 7, b"the rest")])
        assert await reader == b"first, the rest"

    play(tmp_path, scenario)


def test_what_still_runs_is_read_as_it_stands(tmp_path: Path) -> None:
    async def scenario(engine: Engine, logs: LogStore, key: AllocationId, host: HostId, epoch: int) -> None:
        await logs.append_batch([Chunk(key, 0, b"so far")])
        await engine.post(HostReported(host, epoch, (status(key, Phase.RUNNING),)))
        async with asyncio.timeout(2.0):
            assert await read(engine, logs, key) == b"so far"

    play(tmp_path, scenario)


def test_a_rest_that_does_not_come_is_waited_for_a_moment_only(tmp_path: Path) -> None:
    async def scenario(engine: Engine, logs: LogStore, key: AllocationId, host: HostId, epoch: int) -> None:
        await logs.append_batch([Chunk(key, 0, b"so far")])
        await engine.post(HostReported(host, epoch, (status(key, Phase.ENDED, 99),)))
        assert await read(engine, logs, key) == b"so far"

    play(tmp_path, scenario)


def test_who_follows_all_nodes_reads_each_once_whichever_ends_first(tmp_path: Path) -> None:
    async def test(engine: Engine, *_: object) -> None:
        host = await join(engine)
        job = await engine.post(JobSubmitted(replace(SPEC, nodes=2), "ann", "r1"))
        first, second = (AllocationId(f"{job.id}.{rank}.1") for rank in (0, 1))
        logs = LogStore(LogFiles(tmp_path))
        seen: list[tuple[int, bytes]] = []

        async def follow() -> None:
            async for piece in Outputs(engine, logs).pieces(Selection(job.id), follow=True):
                seen.append((piece.rank, piece.data))

        following = asyncio.create_task(follow())
        await logs.append_batch([Chunk(second, 0, b"early"), Chunk(first, 0, b"one, ")])
        await engine.post(HostReported(host.id, host.epoch, (status(second, Phase.ENDED, 5),)))
        async with asyncio.timeout(5.0):
            while len(seen) < 2:
                await asyncio.sleep(0)
        await logs.append_batch([Chunk(first, 5, b"two")])
        await engine.post(HostReported(host.id, host.epoch, (status(first, Phase.ENDED, 8),)))
        async with asyncio.timeout(5.0):
            await following
        assert sorted(seen[:2]) == [(0, b"one, "), (1, b"early")]
        assert seen[2:] == [(0, b"two")]
        await logs.close()

    with_engine(test)
