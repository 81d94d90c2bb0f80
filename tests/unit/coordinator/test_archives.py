"""Archives by their hash: received whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.archives import ArchiveStore
from coordinator.core.errors import Invalid, NotFound
from coordinator.disk import DiskFull
from tests.fakes.small_disk import fill, mounted

DATA = bytes(range(256)) * 4096
HASH = hashlib.sha256(DATA).hexdigest()


async def pieces(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: ArchiveStore, sha256: str) -> bytes:
    return b"".join([piece async for piece in store.open(sha256)])


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file()]


def test_an_archive_is_kept_by_its_hash_also_for_the_next_process(tmp_path: Path) -> None:
    assert asyncio.run(ArchiveStore(tmp_path).receive(pieces(DATA))) == (HASH, len(DATA))
    store = ArchiveStore(tmp_path)
    assert store.has(HASH)
    assert asyncio.run(read(store, HASH)) == DATA


def test_the_same_files_are_stored_once_even_when_sent_at_the_same_time(tmp_path: Path) -> None:
    async def both(store: ArchiveStore) -> None:
        one, two = await asyncio.gather(store.receive(pieces(DATA)), store.receive(pieces(DATA, 999_999)))
        assert one == two == (HASH, len(DATA))

    asyncio.run(both(ArchiveStore(tmp_path)))
    assert files(tmp_path) == [HASH]


def test_an_archive_that_is_too_large_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = ArchiveStore(tmp_path, max_bytes=1 << 20)
    assert asyncio.run(store.receive(pieces(DATA))) == (HASH, 1 << 20)
    with pytest.raises(Invalid, match="the files take more than 1 MiB packed; submit fewer of them"):
        asyncio.run(store.receive(pieces(DATA + b"x")))
    assert files(tmp_path) == [HASH]


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        asyncio.run(ArchiveStore(tmp_path).receive(broken()))
    assert files(tmp_path) == []


def test_what_a_crash_left_half_received_is_cleared_at_the_start(tmp_path: Path) -> None:
    ArchiveStore(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"x")
    ArchiveStore(tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", HASH.upper(), HASH[:-1], HASH + "\n", "0" * 64])
def test_a_hash_that_is_none_or_is_not_stored_is_not_found(tmp_path: Path, name: str) -> None:
    store = ArchiveStore(tmp_path)
    asyncio.run(store.receive(pieces(DATA)))
    assert not store.has(name)
    with pytest.raises(NotFound, match="there is no archive"):
        asyncio.run(read(store, name))


def test_archives_are_for_the_coordinators_user_only(tmp_path: Path) -> None:
    asyncio.run(ArchiveStore(tmp_path / "archives").receive(pieces(DATA)))
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")} == {0}


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path):
        store = ArchiveStore(tmp_path / "archives")
        fill(tmp_path / "ballast")
        with pytest.raises(DiskFull, match=r"no space is left for a job's files in .*; free some, then repeat"):
            asyncio.run(store.receive(pieces(DATA)))
        assert files(tmp_path / "archives") == []
        (tmp_path / "ballast").unlink()
        assert asyncio.run(store.receive(pieces(DATA))) == (HASH, len(DATA))


def test_archives_of_ended_jobs_go_the_one_used_longest_ago_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = ArchiveStore(tmp_path, keep_bytes=3 * len(DATA))
        kept = []
        for number in range(6):
            sha256, _ = await store.receive(pieces(DATA[:-1] + bytes([number])))
            kept.append(sha256)
        await store.prune(())
        assert all(store.has(sha256) for sha256 in kept), "their jobs may be submitted any moment"
        for age, sha256 in enumerate(reversed(kept)):
            os.utime(tmp_path / sha256[:2] / sha256, (0, time.time() - 10_000 - age))
        assert store.use(kept[1])
        assert not store.use("0" * 64)
        await store.prune({kept[0]})
        assert [store.has(sha256) for sha256 in kept] == [True, True, False, False, False, True]

    asyncio.run(scenario())
