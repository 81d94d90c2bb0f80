"""Output and files of jobs in PostgreSQL: what their stores on disk promise, and that only the leader writes."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.archives import ArchiveStore
from coordinator.core.errors import Invalid, NotFound
from coordinator.core.ids import AllocationId, JobId
from coordinator.logfiles import Chunk, LogFiles
from coordinator.logstore import LogStore
from coordinator.shared_files import SharedArchives, SharedDatabase, SharedOutput
from coordinator.store import Deposed
from coordinator.store.leadership import Leadership
from tests.contract.places import leading
from tests.fakes.postgres_server import Server
from tests.support import eventually

A, B = AllocationId("j-7.0.1"), AllocationId("j-7.1.1")
DATA = bytes(range(256)) * 12_000
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def seat(postgres: Server) -> Iterator[Leadership]:
    made = leading(postgres.url(postgres.emptied()))
    yield made
    made.close()


@pytest.fixture
def database(seat: Leadership) -> Iterator[SharedDatabase]:
    with closing(SharedDatabase(seat)) as made:
        yield made


def play(database: SharedDatabase, scenario: Callable[[LogStore], Awaitable[None]]) -> None:
    """Play ``scenario`` with a store that is closed at the end."""

    async def run() -> None:
        logs = LogStore(SharedOutput(database))
        await scenario(logs)
        await logs.close()

    asyncio.run(run())


def test_output_is_read_back_as_it_was_appended_also_by_the_next_leader(database: SharedDatabase) -> None:
    async def write(logs: LogStore) -> None:
        assert await logs.append_batch([Chunk(A, 0, b"one\0"), Chunk(A, 4, b"\xfftwo"), Chunk(B, 0, b"other")]) == {
            A: 8,
            B: 5,
        }

    async def read(logs: LogStore) -> None:
        assert (logs.size(A), logs.size(B)) == (8, 5)
        assert (await logs.read(A, 0, 100)).data == b"one\0\xfftwo"
        assert (await logs.read(A, 5, 2)).data == b"tw"
        assert (await logs.read(A, 8, 100)).data == b""
        assert await logs.append_batch([Chunk(A, 4, b"\xfftwo, three"), Chunk(A, 99, b"gap")]) == {A: 15}
        logs.forget(JobId("j-7"))

    async def gone(logs: LogStore) -> None:
        assert (logs.size(A), (await logs.read(B, 0, 10)).data) == (0, b"")

    for scenario in (write, read, gone):
        play(database, scenario)


@pytest.mark.parametrize("name", ["", "j-7", "j-7.0.01", "../j-7.0.1", "j-7.0.1\n"])
def test_an_id_that_can_be_none_is_refused(database: SharedDatabase, name: str) -> None:
    output = SharedOutput(database)
    with pytest.raises(Invalid, match="is no allocation's id"):
        output.append([Chunk(AllocationId(name), 0, b"x")])
    with pytest.raises(Invalid, match="can't begin at -1"):
        output.append([Chunk(A, -1, b"x")])


LIMIT = 16
SENT = st.tuples(st.sampled_from([A, B]), st.integers(0, 40), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SENT, max_size=10))
def test_the_database_takes_and_gives_what_files_do(
    database: SharedDatabase, sent: list[tuple[AllocationId, int, int, int]]
) -> None:
    shared = SharedOutput(database, LIMIT)
    shared.delete(JobId("j-7"))
    # An output's byte at an offset is always the same one, however often it is sent.
    whole = bytes(10 if at % 7 == 3 else 65 + at % 26 for at in range(60))
    chunks = [Chunk(name, at, whole[at : at + length], min(at, gap), "flood") for name, at, length, gap in sent]
    with TemporaryDirectory() as directory, closing(LogFiles(Path(directory), LIMIT, 0)) as files:
        for chunk in chunks:
            assert shared.append([chunk]) == files.append([chunk])
        again = SharedOutput(database, LIMIT)
        for store in (shared, again):
            assert store.dropped(JobId("j-7")) == files.dropped(JobId("j-7"))
            for name in (A, B):
                assert (store.size(name), store.tail(name, 2)) == (files.size(name), files.tail(name, 2))
                for offset in range(0, 60, 3):
                    assert store.read(name, offset, 5) == files.read(name, offset, 5)


async def pieces(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(store: ArchiveStore, sha256: str) -> bytes:
    return b"".join([piece async for piece in store.open(sha256)])


def test_archives_are_kept_by_their_hash_once_and_found_by_the_next_leader(
    database: SharedDatabase, tmp_path: Path
) -> None:
    async def both(store: ArchiveStore) -> None:
        one, two = await asyncio.gather(store.receive(pieces(DATA)), store.receive(pieces(DATA, 999_999)))
        assert one == two == (HASH, len(DATA))

    asyncio.run(both(SharedArchives(tmp_path, database)))
    store = SharedArchives(tmp_path, database)
    assert store.has(HASH)
    assert asyncio.run(content(store, HASH)) == DATA
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(NotFound, match="there is no archive"):
        asyncio.run(content(store, "0" * 64))


def test_archives_that_nobody_needs_go_when_they_take_too_much(database: SharedDatabase, tmp_path: Path) -> None:
    store = SharedArchives(tmp_path, database, keep_bytes=100)
    (needed, _), (other, _) = (asyncio.run(store.receive(pieces(data))) for data in (b"a" * 90, b"b" * 90))
    asyncio.run(store.prune({needed}))
    assert store.use(other), "it was used a moment ago"
    store._prune(frozenset({needed}), time.time() + 1)
    assert store.has(needed)
    assert not SharedArchives(tmp_path, database).has(other)


def test_a_deposed_leader_adds_no_output_and_no_archive(
    postgres: Server, seat: Leadership, database: SharedDatabase, tmp_path: Path
) -> None:
    output, archives = SharedOutput(database), SharedArchives(tmp_path, database)
    assert output.append([Chunk(A, 0, b"mine")]) == {A: 4}
    heir = Leadership(postgres.url())
    postgres.ask("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    eventually(heir.take, what="the next leader")
    with pytest.raises(Deposed):
        output.append([Chunk(A, 4, b" too")])
    with pytest.raises(Deposed):
        asyncio.run(archives.receive(pieces(DATA)))
    with closing(SharedDatabase(heir)) as after:
        assert SharedOutput(after).size(A) == output.size(A) == 4
        assert not SharedArchives(tmp_path, after).has(HASH)
    heir.close()
