"""Output goes up by offset, whatever is in it and whatever happens to the calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.core.model import AllocationId, Observed, Phase
from agent.logs import CALL_BYTES, CHUNK_BYTES, Chunk, LogPublisher, Position, PublishFailed
from agent.places import Places

pytestmark = pytest.mark.timeout(60)


class Coordinator:
    """Appends by offset; fails, forgets and repeats as told."""

    def __init__(self) -> None:
        self.logs: dict[AllocationId, bytes] = {}
        self.calls: list[Sequence[Chunk]] = []
        self.failures = 0
        self.lose_answers = 0
        self.unknown: set[AllocationId] = set()
        self.called = asyncio.Event()

    async def send(self, chunks: Sequence[Chunk]) -> list[Position]:
        self.calls.append(chunks)
        self.called.set()
        if self.failures > 0:
            self.failures -= 1
            raise PublishFailed("down")
        for chunk in chunks:
            have = self.logs.get(chunk.allocation, b"")
            if chunk.offset <= len(have):
                self.logs[chunk.allocation] = have + chunk.data[len(have) - chunk.offset :]
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise PublishFailed("answer lost")
        return [
            Position(c.allocation, len(self.logs.get(c.allocation, b"")), c.allocation in self.unknown) for c in chunks
        ]


class Host:
    """A publisher over real files."""

    def __init__(self, tmp_path: Path) -> None:
        self.places = Places(tmp_path)
        self.places.make()
        self.coordinator = Coordinator()
        self.observed: dict[AllocationId, Observed] = {}
        self.done: list[AllocationId] = []
        self.finished = asyncio.Event()
        self.publisher = LogPublisher(self.places, self.observed, self.coordinator.send, self._done)

    def _done(self, key: AllocationId) -> None:
        seen = self.observed[key]
        if not seen.log_done:
            self.done.append(key)
        self.observed[key] = Observed(key, seen.phase, log_bytes=seen.log_bytes, log_done=True)
        if all(one.log_done for one in self.observed.values()):
            self.finished.set()

    def write(self, name: str, data: bytes, ended: bool) -> AllocationId:
        key = AllocationId(name)
        with open(self.places.log_of(key), "ab") as file:
            file.write(data)
            size = file.tell()
        self.observed[key] = Observed(key, Phase.ENDED if ended else Phase.RUNNING, log_bytes=size if ended else 0)
        self.publisher.wake()
        return key

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the coordinator was called so that ``reached`` holds."""
        while not reached():
            self.coordinator.called.clear()
            await self.coordinator.called.wait()


def publish(tmp_path: Path, arrange: Callable[[Host], None]) -> Host:
    """Publish until everything is done."""

    async def scenario() -> Host:
        host = Host(tmp_path)
        arrange(host)
        task = asyncio.create_task(host.publisher.run())
        async with asyncio.timeout(20):
            await host.finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return host

    return asyncio.run(scenario())


BINARY = bytes(range(256)) * 3000 + b"no newline at the end \xff\xfe"


def test_bytes_arrive_as_they_are(tmp_path: Path) -> None:
    host = publish(tmp_path, lambda host: host.write("a.0.1", BINARY, ended=True) and None)
    assert host.coordinator.logs == {"a.0.1": BINARY}
    assert host.done == ["a.0.1"]
    assert max(len(chunk.data) for call in host.coordinator.calls for chunk in call) == CHUNK_BYTES


def test_failed_calls_leave_neither_gap_nor_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.logs.RETRY_SECONDS", 0.01)

    def arrange(host: Host) -> None:
        host.coordinator.failures, host.coordinator.lose_answers = 2, 2
        host.write("a.0.1", BINARY, ended=True)

    assert publish(tmp_path, arrange).coordinator.logs == {"a.0.1": BINARY}


def test_a_restarted_agent_goes_on_where_the_coordinator_is(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        host.coordinator.logs[AllocationId("a.0.1")] = BINARY[:500_000]
        host.write("a.0.1", BINARY, ended=True)

    host = publish(tmp_path, arrange)
    assert host.coordinator.logs == {"a.0.1": BINARY}
    assert host.coordinator.calls[1][0].offset == 500_000


def test_a_coordinator_that_lost_its_disk_is_given_it_all_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        host = Host(tmp_path)
        host.write("a.0.1", b"one ", ended=False)
        task = asyncio.create_task(host.publisher.run())
        while not host.coordinator.logs:
            await asyncio.sleep(0)
        host.coordinator.logs.clear()
        host.write("a.0.1", b"two", ended=True)
        async with asyncio.timeout(20):
            await host.finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert host.coordinator.logs == {"a.0.1": b"one two"}

    asyncio.run(scenario())


def test_what_is_not_wanted_is_not_sent_on(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        host.coordinator.unknown.add(AllocationId("a.0.1"))
        host.write("a.0.1", BINARY * 10, ended=True)

    host = publish(tmp_path, arrange)
    assert len(host.coordinator.calls) == 1
    assert host.done == ["a.0.1"]


def test_a_flood_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        for i in range(6):
            host.write(f"flood.{i}.1", random.Random(i).randbytes(2 * CALL_BYTES), ended=True)
        host.write("small.0.1", b"hello", ended=True)

    host = publish(tmp_path, arrange)
    first = next(i for i, call in enumerate(host.coordinator.calls) if any(c.allocation == "small.0.1" for c in call))
    assert first <= 4
    assert all(sum(len(chunk.data) for chunk in call) <= CALL_BYTES for call in host.coordinator.calls)
    assert sum(map(len, host.coordinator.logs.values())) == 12 * CALL_BYTES + 5


def test_a_log_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        key = host.write("a.0.1", b"abc", ended=True)
        host.places.drop_log(key)

    host = publish(tmp_path, arrange)
    assert (host.done, host.coordinator.calls) == (["a.0.1"], [])


def test_a_coordinator_that_was_restored_with_less_output_gets_the_rest_again(tmp_path: Path) -> None:
    async def scenario() -> Host:
        host = Host(tmp_path)
        words = random.Random(7).randbytes(3 * CHUNK_BYTES)
        key = host.write("j-1.0.1", words, ended=False)
        task = asyncio.create_task(host.publisher.run())
        async with asyncio.timeout(20):
            await host.until(lambda: host.coordinator.logs.get(key) == words)
            host.coordinator.logs[key] = words[:1000]
            host.publisher.ask_again()
            await host.until(lambda: host.coordinator.logs.get(key) == words)
            # The same for one that has ended, and that nobody adds to any more.
            host.coordinator.logs[key] = b""
            host.publisher.ask_again()
            host.write("j-1.0.1", b"", ended=True)
            await host.finished.wait()
        assert host.coordinator.logs[key] == words
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return host

    asyncio.run(scenario())
