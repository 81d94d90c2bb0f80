"""Output goes up by offset, whatever is in it and whatever happens to the calls."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.core.model import AllocationId, Observed, Phase
from agent.core.outflow import MOST_BYTES, Limits, Position
from agent.logs import Chunk, LogPublisher, PublishFailed
from agent.places import Places
from tests.fakes.small_disk import mounted

pytestmark = pytest.mark.timeout(120)


class Coordinator:
    """Appends by offset; fails, forgets and repeats as told."""

    def __init__(self) -> None:
        self.logs: dict[AllocationId, bytes] = {}
        self.calls: list[Sequence[Chunk]] = []
        self.failures = 0
        self.lose_answers = 0
        self.unknown: set[AllocationId] = set()
        self.gaps: dict[AllocationId, list[tuple[int, int, str]]] = {}
        self.called = asyncio.Event()
        self.hang: asyncio.Event | None = None

    async def send(self, chunks: Sequence[Chunk]) -> list[Position]:
        self.calls.append(chunks)
        self.called.set()
        if self.hang is not None:
            await self.hang.wait()
        if self.failures > 0:
            self.failures -= 1
            raise PublishFailed("down")
        for chunk in chunks:
            have = self.logs.get(chunk.allocation, b"")
            if chunk.offset - chunk.dropped <= len(have):
                missing = max(0, chunk.offset - len(have))
                if missing:
                    self.gaps.setdefault(chunk.allocation, []).append((len(have), missing, chunk.reason))
                have += bytes(missing)
                self.logs[chunk.allocation] = have + chunk.data[len(have) - chunk.offset :]
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise PublishFailed("answer lost")
        return [
            Position(c.allocation, len(self.logs.get(c.allocation, b"")), c.allocation in self.unknown) for c in chunks
        ]


class Host:
    """A publisher over real files."""

    def __init__(self, tmp_path: Path, limits: Limits | None = None) -> None:
        self.places = Places(tmp_path)
        self.places.make()
        self.coordinator = Coordinator()
        self.observed: dict[AllocationId, Observed] = {}
        self.done: list[AllocationId] = []
        self.finished = asyncio.Event()
        limits = limits or Limits()
        self.publisher = LogPublisher(self.places, self.observed, self.coordinator.send, self._done, limits)

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


def publish(tmp_path: Path, arrange: Callable[[Host], None], limits: Limits | None = None) -> Host:
    """Publish until everything is done."""

    async def scenario() -> Host:
        host = Host(tmp_path, limits)
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
    assert max(len(chunk.data) for call in host.coordinator.calls for chunk in call) <= MOST_BYTES


def test_failed_calls_leave_neither_gap_nor_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.core.outflow.RETRY_SECONDS", 0.01)

    def arrange(host: Host) -> None:
        host.coordinator.failures, host.coordinator.lose_answers = 2, 2
        host.write("a.0.1", BINARY, ended=True)

    assert publish(tmp_path, arrange).coordinator.logs == {"a.0.1": BINARY}


def test_a_restarted_agent_goes_on_where_the_coordinator_is(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        host.coordinator.logs[AllocationId("a.0.1")] = (BINARY * 3)[:1_500_000]
        host.write("a.0.1", BINARY * 3, ended=True)

    host = publish(tmp_path, arrange)
    assert host.coordinator.logs == {"a.0.1": BINARY * 3}
    assert host.coordinator.calls[1][0].offset == 1_500_000


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
            host.write(f"flood.{i}.1", random.Random(i).randbytes(2 * MOST_BYTES), ended=True)
        host.write("small.0.1", b"hello", ended=True)

    host = publish(tmp_path, arrange)
    first = next(i for i, call in enumerate(host.coordinator.calls) if any(c.allocation == "small.0.1" for c in call))
    assert first <= 4
    assert all(sum(len(chunk.data) for chunk in call) <= MOST_BYTES for call in host.coordinator.calls)
    assert sum(map(len, host.coordinator.logs.values())) == 12 * MOST_BYTES + 5


def test_a_log_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        key = host.write("a.0.1", b"abc", ended=True)
        host.places.drop_log(key)

    host = publish(tmp_path, arrange)
    assert host.done == ["a.0.1"]
    assert host.coordinator.gaps == {"a.0.1": [(0, 3, "its output file is gone from the host")]}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_dead_link_does_not_let_a_file_grow_and_what_went_is_told(tmp_path: Path) -> None:
    mb = 1 << 20

    async def scenario() -> None:
        host = Host(tmp_path, Limits(keep=4 * mb))
        host.coordinator.hang = asyncio.Event()
        task = asyncio.create_task(host.publisher.run())
        key = host.write("a.0.1", b"first\n", ended=False)
        await until(lambda: host.coordinator.calls)
        path = Path(host.places.log_of(key))
        for number in range(40):
            host.write("a.0.1", bytes([number]) * mb, ended=False)
            await until(lambda: path.stat().st_blocks * 512 <= 5 * mb)
        host.coordinator.hang.set()
        host.write("a.0.1", b"last\n", ended=True)
        async with asyncio.timeout(20):
            await host.finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        output, ((start, length, reason),) = host.coordinator.logs[key], host.coordinator.gaps[key]
        assert len(output) == 40 * mb + 11, "all bytes are kept or counted"
        assert (start, reason) == (6, "the host's log limit of 4 MB"), "what was acknowledged is no gap"
        assert 35 * mb <= length <= 38 * mb
        assert output.startswith(b"first\n")
        assert output.endswith(bytes([39]) * mb + b"last\n")

    asyncio.run(scenario())


def test_on_a_disk_that_fills_up_old_output_makes_room_and_the_program_goes_on(tmp_path: Path) -> None:
    mb = 1 << 20

    async def scenario(directory: Path) -> None:
        host = Host(directory, Limits(reserve=24 * mb))
        host.coordinator.failures = 1 << 30
        task = asyncio.create_task(host.publisher.run())
        for _ in range(40):
            host.write("a.0.1", b"x" * mb, ended=False)
            await until(lambda: os.statvfs(directory).f_bavail * 4096 >= 12 * mb)
        host.coordinator.failures = 0
        host.write("a.0.1", b"last", ended=True)
        async with asyncio.timeout(20):
            await host.finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (gap,) = host.coordinator.gaps[AllocationId("a.0.1")]
        assert gap[0] == 0
        assert gap[2] == "the host's disk is nearly full"
        assert len(host.coordinator.logs[AllocationId("a.0.1")]) == 40 * mb + 4

    with mounted(tmp_path, "32m"):
        asyncio.run(scenario(tmp_path / "state"))


def test_a_restarted_agent_knows_what_is_gone(tmp_path: Path) -> None:
    """The holes in the file are no zeros that the program wrote."""
    mb = 1 << 20

    async def first() -> None:
        host = Host(tmp_path, Limits(keep=4 * mb))
        host.coordinator.failures = 1 << 30
        path = Path(host.places.log_of(host.write("a.0.1", b"x" * 40 * mb, ended=False)))
        task = asyncio.create_task(host.publisher.run())
        await until(lambda: path.stat().st_blocks * 512 <= 5 * mb)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(first())
    host = publish(tmp_path, lambda host: host.write("a.0.1", b"end", ended=True) and None, Limits(keep=4 * mb))
    ((start, length, _),) = host.coordinator.gaps[AllocationId("a.0.1")]
    output = host.coordinator.logs[AllocationId("a.0.1")]
    assert (start, len(output)) == (0, 40 * mb + 3)
    assert output[length:] == b"x" * (40 * mb - length) + b"end"


def test_a_program_that_empties_its_output_file(tmp_path: Path) -> None:
    """What was acknowledged stays, what comes is added; also when the agent was restarted in between."""

    async def scenario(emptied: bool) -> bytes:
        host = Host(tmp_path)
        host.coordinator.logs[AllocationId("a.0.1")] = b"" if emptied else b"old " * 50
        task = asyncio.create_task(host.publisher.run())
        if emptied:
            key = host.write("a.0.1", b"old " * 50, ended=False)
            await until(lambda: host.coordinator.logs.get(key) == b"old " * 50)
            os.truncate(host.places.log_of(key), 0)
            host.write("a.0.1", b"new", ended=False)
            await until(lambda: host.coordinator.logs[key].endswith(b"new"))
        host.write("a.0.1", b" end", ended=True)
        async with asyncio.timeout(20):
            await host.finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert host.coordinator.gaps == {}
        return host.coordinator.logs[AllocationId("a.0.1")]

    assert asyncio.run(scenario(emptied=True)) == b"old " * 50 + b"new end"
    assert asyncio.run(scenario(emptied=False)) == b"old " * 50 + b"new end end"


def test_a_thousand_small_logs_at_once(tmp_path: Path) -> None:
    def arrange(host: Host) -> None:
        for i in range(1000):
            host.write(f"small.{i}.1", b"line %d\n" % i, ended=True)

    host = publish(tmp_path, arrange)
    assert host.coordinator.logs == {f"small.{i}.1": b"line %d\n" % i for i in range(1000)}
    assert len(host.coordinator.calls) <= 5


def test_a_line_of_many_megabytes(tmp_path: Path) -> None:
    line = b"x" * (9 << 20) + b"\n"
    host = publish(tmp_path, lambda host: host.write("a.0.1", line, ended=True) and None)
    assert host.coordinator.logs == {"a.0.1": line}


def test_output_that_nobody_knows_any_more_goes(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.make()
    known, lost, fresh = (AllocationId(name) for name in ("known.0.1", "lost.0.1", "fresh.0.1"))
    for key in (known, lost, fresh):
        Path(places.log_of(key)).write_bytes(b"x")
    for key in (known, lost):
        os.utime(places.log_of(key), (0, 1000))
    places.prune_logs({known}, before=2000)
    assert sorted(path.name for path in places.logs.iterdir()) == ["fresh.0.1.log", "known.0.1.log"]


def test_a_coordinator_that_was_restored_with_less_output_gets_the_rest_again(tmp_path: Path) -> None:
    async def scenario() -> Host:
        host = Host(tmp_path)
        words = random.Random(7).randbytes(3 << 18)
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
