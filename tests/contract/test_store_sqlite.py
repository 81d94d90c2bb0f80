"""What only the store on disk can promise: it survives being killed, being alone, and a full disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    JobCreated,
    JobUpdated,
    NodeUpdated,
)
from coordinator.core.ids import HostId, allocation_id, job_id
from coordinator.core.model import Allocation, Job, JobState, Node, NodeState, Phase
from coordinator.core.spec import JobSpec
from coordinator.disk import BALLAST_BYTES
from coordinator.store import Loaded, StoreBusy, StoreError, StoreFull
from coordinator.store.sql import SqlStore
from coordinator.store.sqlite import sqlite_engine
from tests.contract.writer import RANKS
from tests.fakes.small_disk import fill, mounted

JOB = Job(job_id(1), 1, "train", "admin", "r-1", JobSpec(commands=("true",)), submitted_at=1.0)
NODE = Node(JOB.id, 0, NodeState.PLACED, attempt=1)
HELD = Allocation(allocation_id(JOB.id, 0, 1), JOB.id, 0, 1, HostId("h-1"), 1, 1, (), wanted=Phase.RUNNING)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(tmp_path)
    yield made
    made.close()


def sql(directory: Path, statement: str) -> list[tuple[object, ...]]:
    """Run one statement from outside."""
    connection = sqlite3.connect(directory / "coordinator.db")
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def refuse(directory: Path, event: str) -> None:
    """Make the database refuse every ``event``, such as ``INSERT ON nodes``."""
    name = "refuse_" + event.replace(" ", "_").lower()
    sql(directory, f"CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(ABORT, 'refused by a test'); END")


def test_a_commit_that_fails_half_way_leaves_nothing_and_the_store_goes_on(store: SqlStore, tmp_path: Path) -> None:
    refuse(tmp_path, "INSERT ON allocations")
    with pytest.raises(StoreError, match=r"database .*coordinator\.db failed: refused by a test"):
        store.commit([JobCreated(JOB), NodeUpdated(NODE), AllocationReserved(HELD)])
    assert store.load() == Loaded()
    store.commit([JobCreated(JOB)])
    assert store.load().jobs == (JOB,)


def test_an_update_of_a_job_does_not_write_its_specification_again(store: SqlStore, tmp_path: Path) -> None:
    store.commit([JobCreated(JOB)])
    refuse(tmp_path, "UPDATE OF spec ON jobs")
    running = replace(JOB, state=JobState.RUNNING, version=1)
    store.commit([JobUpdated(running)])
    assert store.load().jobs == (running,)


def test_an_allocation_that_came_and_went_in_one_commit_writes_nothing(store: SqlStore, tmp_path: Path) -> None:
    refuse(tmp_path, "INSERT ON allocations")
    refuse(tmp_path, "DELETE ON allocations")
    store.commit([AllocationReserved(HELD), AllocationFreed(HELD.id)])


def test_commits_are_synced_to_disk_and_private(store: SqlStore, tmp_path: Path) -> None:
    store.commit([JobCreated(JOB)])
    with sqlite_engine(tmp_path / "coordinator.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes) == {"coordinator.db", "coordinator.db-wal", "coordinator.db-shm", "coordinator.lock", "reserve"}
    assert set(modes.values()) == {0o600}


def test_a_second_store_on_a_directory_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.contract.writer", str(tmp_path), "1"], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(
            StoreBusy, match=rf"in use by another coordinator \(pid {first.pid}\); stop it or"
        ) as refused:
            SqlStore(tmp_path)
        assert refused.value.pid == first.pid
        first.kill()
    SqlStore(tmp_path).close()


def test_a_closed_store_lets_the_next_one_in(tmp_path: Path) -> None:
    first = SqlStore(tmp_path)
    with pytest.raises(StoreBusy, match=f"pid {os.getpid()}"):
        SqlStore(tmp_path)
    first.close()
    first.close()
    SqlStore(tmp_path).close()


@pytest.mark.timeout(60)
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    acknowledged = 0
    for acknowledge in (1, 7, 30, 100):
        command = [sys.executable, "-m", "tests.contract.writer", str(tmp_path), str(acknowledged + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(acknowledge):
                writer.stdout.readline()
            writer.kill()
            rest = [line for line in writer.stdout.read().split("\n") if line]
        store = SqlStore(tmp_path)
        loaded = store.load()
        store.close()
        attempts = {node.attempt for node in loaded.nodes}
        assert len(loaded.nodes) == len(RANKS)
        assert len(attempts) == 1, "a commit is there in part"
        (last,) = attempts
        assert last >= acknowledged + acknowledge + len(rest)
        assert len(loaded.allocations) == last
        acknowledged = last


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path) as disk:
        yield disk


def test_a_full_disk_refuses_commits_and_heals_by_itself(small_disk: Path) -> None:
    store = SqlStore(small_disk)
    store.commit([JobCreated(JOB)])
    ballast = small_disk / "ballast"
    fill(ballast)
    nodes = [Node(JOB.id, rank, NodeState.PLACED, attempt=1, reason="x" * 200) for rank in range(500)]
    with pytest.raises(StoreFull, match=r"no space is left for database .*coordinator\.db"):
        store.commit([*map(NodeUpdated, nodes)])
    assert store.load() == Loaded(jobs=(JOB,), counters=store.load().counters)
    ballast.unlink()
    store.commit([*map(NodeUpdated, nodes)])
    assert store.load().nodes == tuple(nodes)
    store.close()


def test_a_disk_that_others_filled_has_room_left_for_ends(tmp_path: Path) -> None:
    with mounted(tmp_path, "90m"):
        store = SqlStore(tmp_path)
        store.commit([JobCreated(JOB)])
        assert (tmp_path / "reserve").stat().st_blocks * 512 == BALLAST_BYTES
        fill(tmp_path / "filler")
        nodes = [Node(JOB.id, rank, NodeState.PLACED, attempt=1, reason="x" * 200) for rank in range(500)]
        store.commit([*map(NodeUpdated, nodes)])
        assert not (tmp_path / "reserve").exists()
        store.close()
        store = SqlStore(tmp_path)
        assert store.load().nodes == tuple(nodes)
        (tmp_path / "filler").unlink()
        store.commit([NodeUpdated(nodes[0])])
        assert (tmp_path / "reserve").exists(), "held again as soon as there is room"
        store.close()


def test_a_new_database_on_a_full_disk_says_so(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    fill(ballast)
    with pytest.raises(StoreFull, match="no space is left for database"):
        SqlStore(small_disk)
    ballast.unlink()
    SqlStore(small_disk).close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"data directory .*gone can't be used: No such file or directory; choose"):
        SqlStore(tmp_path / "gone")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "coordinator.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"coordinator\.db failed: file is not a database"):
        SqlStore(tmp_path)
    (tmp_path / "coordinator.db").unlink()
    SqlStore(tmp_path).close()
