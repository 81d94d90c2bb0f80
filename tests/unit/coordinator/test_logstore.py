"""Output on the coordinator's disk: offsets, durability, ids that come from the network, and who is woken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.errors import Invalid
from coordinator.core.ids import AllocationId, JobId
from coordinator.disk import DiskFull
from coordinator.logfiles import Chunk, LogFiles
from coordinator.logstore import LogStore
from tests.fakes.small_disk import fill, mounted

A = AllocationId("j-7.0.1")
JOB = JobId("j-7")


def run(directory: Path, scenario: Callable[[LogStore], Awaitable[None]]) -> None:
    """Play ``scenario`` with a store that is closed at the end."""

    async def play() -> None:
        logs = LogStore(directory, floor=0)
        try:
            await scenario(logs)
        finally:
            await logs.close()

    asyncio.run(play())


async def stored(logs: LogStore, offset: int, limit: int) -> bytes:
    """What is read of the log A."""
    return (await logs.read(A, offset, limit)).data


def test_output_is_read_back_as_it_was_appended_also_by_the_next_process(tmp_path: Path) -> None:
    async def write(logs: LogStore) -> None:
        assert await logs.append_batch([Chunk(A, 0, b"one\0"), Chunk(A, 4, b"\xfftwo")]) == {A: 8}
        assert logs.size(A) == 8

    async def read(logs: LogStore) -> None:
        assert await stored(logs, 0, 100) == b"one\0\xfftwo"
        assert await stored(logs, 4, 2) == b"\xfft"
        assert await stored(logs, 8, 100) == b""
        assert await logs.append_batch([Chunk(A, 8, b"three")]) == {A: 13}

    run(tmp_path, write)
    run(tmp_path, read)


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        assert (logs.size(A), await stored(logs, 0, 10), await logs.append_batch([])) == (0, b"", {})
        assert await logs.append_batch([Chunk(A, 0, b"")]) == {A: 0}

    run(tmp_path, scenario)


def test_repeats_and_overlaps_are_harmless_and_a_gap_is_refused_with_the_wanted_offset(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        assert await logs.append_batch([Chunk(A, 0, b"abcdef")]) == {A: 6}
        assert await logs.append_batch([Chunk(A, 0, b"abc")]) == {A: 6}
        assert await logs.append_batch([Chunk(A, 4, b"efgh")]) == {A: 8}
        assert await logs.append_batch([Chunk(A, 9, b"late")]) == {A: 8}
        assert await stored(logs, 0, 100) == b"abcdefgh"

    run(tmp_path, scenario)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_order_of_pieces_sent_from_the_wanted_offset_gives_the_whole(whole: bytes, data: st.DataObject) -> None:
    with TemporaryDirectory() as directory:
        files, wanted = LogFiles(Path(directory)), 0
        for _ in range(20):
            start = data.draw(st.integers(0, len(whole)))
            piece = whole[start : start + data.draw(st.integers(0, 60))]
            wanted = files.append([Chunk(A, start, piece)])[A]
            assert files.read(A, 0, 1000).data == whole[:wanted]
        assert files.append([Chunk(A, wanted, whole[wanted:])]) == {A: len(whole)}
        assert files.read(A, 0, 1000).data == whole
        files.close()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "j-1",
        "j-1.0",
        "j-1.0.1.2",
        "j-1.0.1\n",
        "j-01.0.1",
        "j-1.00.1",
        "j-1.-1.1",
        "j-1.0.１",
        "../x.0.1",
        "j-1/../../etc.0.1",
        "j-1.0.1/../../x",
        "J-1.0.1",
        "j-" + "9" * 40 + ".0.1",
    ],
)
def test_an_id_that_can_not_be_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    async def scenario(logs: LogStore) -> None:
        with pytest.raises(Invalid, match=r"is no allocation's id; one is written JOB\.RANK\.ATTEMPT"):
            await logs.append_batch([Chunk(AllocationId(name), 0, b"x")])
        with pytest.raises(Invalid):
            logs.size(AllocationId(name))
        with pytest.raises(Invalid):
            await logs.read(AllocationId(name), 0, 1)

    run(tmp_path / "logs", scenario)
    assert [path.name for path in tmp_path.rglob("*")] == ["logs"]


def test_an_offset_below_zero_is_refused(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        with pytest.raises(Invalid, match=r"output of j-7\.0\.1 can't begin at -1"):
            await logs.append_batch([Chunk(A, -1, b"x")])

    run(tmp_path, scenario)


def test_a_batch_of_more_logs_than_are_kept_open_leaves_few_open(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        before = len(os.listdir("/proc/self/fd"))
        ids = [AllocationId(f"j-7.{rank}.1") for rank in range(0, 3000, 10)]
        assert await logs.append_batch([Chunk(each, 0, b"x") for each in ids]) == dict.fromkeys(ids, 1)
        assert len(os.listdir("/proc/self/fd")) - before <= 130
        assert await logs.append_batch([Chunk(each, 1, b"y") for each in ids]) == dict.fromkeys(ids, 2)
        assert (await logs.read(ids[-1], 0, 10)).data == b"xy"

    run(tmp_path, scenario)
    assert sorted(path.name for path in (tmp_path / "j-7").iterdir()) == ["0", "1", "2"]


def test_a_reader_is_woken_by_output_of_its_job_only(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        seen = logs.version(JOB)
        waiting = asyncio.create_task(logs.changed(JOB, seen))
        await logs.append_batch([Chunk(AllocationId("j-8.0.1"), 0, b"other")])
        assert not waiting.done()
        await logs.append_batch([Chunk(A, 0, b"x")])
        assert await waiting != seen
        assert await logs.changed(JOB, seen) == logs.version(JOB), "what has changed already is not waited for"

    run(tmp_path, scenario)


def test_readers_are_woken_when_the_one_who_appends_goes_away(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        waiting = asyncio.create_task(logs.changed(JOB, logs.version(JOB)))
        appending = asyncio.create_task(logs.append_batch([Chunk(A, 0, b"x")]))
        await asyncio.sleep(0)
        appending.cancel()
        await waiting
        assert await stored(logs, 0, 10) == b"x"

    run(tmp_path, scenario)


def test_a_forgotten_job_loses_its_output_and_no_other(tmp_path: Path) -> None:
    other = AllocationId("j-70.0.1")

    async def scenario(logs: LogStore) -> None:
        await logs.append_batch([Chunk(A, 0, b"x"), Chunk(AllocationId("j-7.2500.3"), 0, b"x"), Chunk(other, 0, b"x")])
        waiting = asyncio.create_task(logs.changed(JOB, logs.version(JOB)))
        await asyncio.sleep(0)
        logs.forget(JOB)
        logs.forget(JobId("j-99"))
        await waiting
        assert (logs.size(A), logs.size(other)) == (0, 1)

    run(tmp_path, scenario)
    assert [path.name for path in tmp_path.iterdir()] == ["j-70"]


def test_output_is_for_the_coordinators_user_only(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        await logs.append_batch([Chunk(A, 0, b"secret")])

    run(tmp_path / "logs", scenario)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")} == {0}


def test_a_disk_that_is_nearly_full_takes_no_output_and_keeps_its_last_room_for_ends(tmp_path: Path) -> None:
    async def play() -> None:
        logs = LogStore(tmp_path / "logs", floor=4 << 20)
        with pytest.raises(DiskFull, match=r"[12] MiB are left for output in .*logs, and kept for ends of jobs"):
            await logs.append_batch([Chunk(A, 0, b"more")])
        # An agent that asks how much is there is answered all the same.
        assert await logs.append_batch([Chunk(A, 0, b"")]) == {A: 0}
        await logs.close()

    with mounted(tmp_path):
        asyncio.run(play())


def test_a_full_disk_takes_no_more_and_goes_on_once_there_is_space(tmp_path: Path) -> None:
    async def scenario(logs: LogStore) -> None:
        await logs.append_batch([Chunk(A, 0, b"kept")])
        fill(tmp_path / "ballast")
        big = bytes(range(256)) * 400
        with pytest.raises(DiskFull, match=r"no space is left for output in .*; free some, then repeat"):
            await logs.append_batch([Chunk(A, 4, big)])
        assert (await stored(logs, 0, 1 << 20)).startswith(b"kept")
        (tmp_path / "ballast").unlink()
        assert await logs.append_batch([Chunk(A, 4, big)]) == {A: 4 + len(big)}
        assert await stored(logs, 0, 1 << 20) == b"kept" + big

    with mounted(tmp_path):
        run(tmp_path / "logs", scenario)
