"""A database that the coordinator of an earlier commit wrote (data/README.md): migrated, complete, served from."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect

from coordinator.core.model import GangPhase, JobState, NodeState
from coordinator.core.spec import JobSpec
from coordinator.store import StoreError
from coordinator.store.schema import metadata
from coordinator.store.sql import SqlStore
from coordinator.store.sqlite import sqlite_engine
from tests.fakes.fleet_client import fleet
from tests.multihost.cluster import Cluster

DATA = Path(__file__).parent / "data"
Rows = dict[str, list[tuple[object, ...]]]


def lay(directory: Path, name: str = "schema_0001.sql") -> Path:
    """Put the old database into a data directory; its file."""
    directory.mkdir(mode=0o700, exist_ok=True)
    file = directory / "coordinator.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript((DATA / name).read_text())
    return file


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return list(database.iterdump())


def columns(file: Path) -> dict[str, list[str]]:
    """The columns of each table but the one with the schema's version."""
    with closing(sqlite3.connect(file)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in names}
    return {name: found[name] for name in names if name != "alembic_version"}


def rows(file: Path, wanted: dict[str, list[str]]) -> Rows:
    """What stands in these columns."""
    with closing(sqlite3.connect(file)) as database:
        return {
            table: database.execute(f"SELECT {', '.join(f'{table}.{name}' for name in names)} FROM {table}").fetchall()
            for table, names in wanted.items()
        }


OLD = pytest.mark.parametrize(("name", "counters"), [("schema_0001.sql", 2), ("schema_0002.sql", 5)])


@OLD
def test_every_record_is_there_after_the_migration(tmp_path: Path, name: str, counters: int) -> None:
    file = lay(tmp_path, name)
    written = columns(file)
    before = rows(file, written)
    SqlStore(tmp_path).close()
    after = rows(file, written)
    assert after == before
    assert {table: len(found) for table, found in after.items() if found} == {
        "jobs": 9,
        "nodes": 13,
        "allocations": 7,
        "gangs": 1,
        "hosts": 2,
        "join_tokens": 2,
        "users": 3,
        "counters": counters,
    }


@OLD
def test_a_migrated_database_has_the_tables_of_a_new_one(tmp_path: Path, name: str, counters: int) -> None:
    lay(tmp_path, name)
    SqlStore(tmp_path).close()
    with sqlite_engine(tmp_path / "coordinator.db").connect() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(metadata.tables)
        for name, table in metadata.tables.items():
            assert [column["name"] for column in found.get_columns(name)] == [column.name for column in table.columns]


@OLD
def test_old_records_read_as_what_they_were(tmp_path: Path, name: str, counters: int) -> None:
    lay(tmp_path, name)
    store = SqlStore(tmp_path)
    loaded = store.load()
    store.close()
    jobs = {job.name: job for job in loaded.jobs}
    assert {name: job.state for name, job in jobs.items()} == {
        "done-any": JobState.DONE,
        "done-cluster": JobState.DONE,
        "failed": JobState.FAILED,
        "stopped": JobState.STOPPED,
        "retried": JobState.RUNNING,
        "running-any": JobState.RUNNING,
        "running-cluster": JobState.RUNNING,
        "stopping": JobState.STOPPING,
        "waiting": JobState.QUEUED,
    }
    assert jobs["failed"].exit_code == 3
    assert Counter(node.state for node in loaded.nodes) == {
        NodeState.DONE: 4,
        NodeState.FAILED: 1,
        NodeState.STOPPED: 1,
        NodeState.RUNNING: 6,
        NodeState.STOPPING: 1,
    }
    (again,) = [node for node in loaded.nodes if node.attempt == 2]
    assert (again.job_id, again.rank, again.errors) == (jobs["retried"].id, 0, 1)
    (gang,) = loaded.gangs
    assert gang.phase is GangPhase.RUNNING
    assert gang.group is not None
    assert [member.host_id for member in gang.group.members] == ["h-1", "h-2"]
    assert [(host.name, host.cordoned) for host in loaded.hosts] == [("one", False), ("two", True)]
    assert (loaded.counters.jobs, loaded.counters.hosts) == (9, 3)
    assert [user.name for user in loaded.users] == ["ada", "admin", "bob"]
    assert loaded.costs == ()
    assert {(held.price, held.held_since, held.share) for held in loaded.allocations} == {(0.0, 0.0, 1.0)}


def test_fields_of_a_specification_that_the_old_release_did_not_know_take_their_defaults(tmp_path: Path) -> None:
    lay(tmp_path)
    store = SqlStore(tmp_path)
    spec = store.load().jobs[0].spec
    store.close()
    assert spec == JobSpec(
        name="done-any",
        nodes=2,
        placement=spec.placement,
        argv=("echo", "hello"),
        env={"SEED": "7"},
        resources=spec.resources,
    )


def spoil(file: Path) -> None:
    """Put the last table that the migration makes in its way: all before it is done by then."""
    old = columns(file)
    last = [name for name in metadata.tables if name not in old and name != "alembic_version"][-1]
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"CREATE TABLE {last} (mine TEXT)")


def test_a_migration_that_fails_leaves_the_old_database_untouched(tmp_path: Path) -> None:
    file = lay(tmp_path)
    spoil(file)
    before = dump(file)
    with pytest.raises(StoreError):
        SqlStore(tmp_path)
    assert dump(file) == before


@pytest.mark.timeout(90)
def test_a_coordinator_serves_from_it_and_its_jobs_go_on(tmp_path: Path) -> None:
    lay(tmp_path / "coordinator")
    cluster = Cluster(tmp_path)
    with cluster, fleet(cluster.data_dir, cluster.endpoints["agents"], 2) as hosts:
        assert hosts.watch().claimed == 6
        assert {name: host["state"] for name, host in cluster.hosts().items()} == {"one": "online", "two": "online"}
        hosts.end(0)
        for job in ("retried", "running-any", "running-cluster"):
            assert cluster.wait(job, timeout=20) == 0
        assert cluster.wait("stopping", timeout=20) == 76
        assert [node["attempt"] for node in cluster.nodes("retried")] == [2, 1]
        assert cluster.run("wait", "failed", check=False).code == 3
        assert cluster.submit("--queue", "--nodes", "9", "--", "true") == "j-10"
        cluster.run("host", "resume", "two")
        assert {job["name"]: job["state"] for job in cluster.run("ps", "--json").json["jobs"]}["waiting"] == "queued"
