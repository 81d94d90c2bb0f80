"""A database that the coordinator of an earlier commit wrote (data/README.md): migrated, complete, served from."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Boolean, Connection, MetaData, insert, inspect, make_url

from coordinator.core.model import GangPhase, JobState, NodeState
from coordinator.core.spec import JobSpec
from coordinator.store import Loaded, StoreError
from coordinator.store.migrate import alembic_config
from coordinator.store.postgres import pooled_engine
from coordinator.store.schema import metadata
from coordinator.store.sql import SqlStore
from coordinator.store.sqlite import sqlite_engine
from tests.contract.places import leading
from tests.fakes.fleet_client import fleet
from tests.fakes.postgres_server import Server
from tests.multihost.cluster import Cluster

DATA = Path(__file__).parent / "data"
Rows = dict[str, list[tuple[object, ...]]]


def lay(directory: Path, name: str) -> Path:
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


FILES = ("schema_0001.sql", "schema_0002.sql", "schema_0003.sql")
OLD = pytest.mark.parametrize("name", FILES)
# What each file holds besides users, tokens, hosts and a group, which are the same in all.
HELD = {
    "schema_0001.sql": {"jobs": 9, "nodes": 13, "allocations": 7, "counters": 2},
    "schema_0002.sql": {"jobs": 9, "nodes": 13, "allocations": 7, "counters": 5},
    "schema_0003.sql": {"jobs": 16, "nodes": 20, "allocations": 12, "counters": 5, "costs": 1},
}
ALL_HAVE = {
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
SINCE_0003 = {
    "failed-twice": JobState.FAILED,
    "variants": JobState.RUNNING,
    "nightly": JobState.QUEUED,
    "after": JobState.QUEUED,
    "swept": JobState.RUNNING,
    "preempted": JobState.RUNNING,
    "preempts": JobState.RUNNING,
}


@OLD
def test_every_record_is_there_after_the_migration(tmp_path: Path, name: str) -> None:
    file = lay(tmp_path, name)
    written = columns(file)
    before = rows(file, written)
    SqlStore(tmp_path).close()
    after = rows(file, written)
    assert after == before
    filled = {table: len(found) for table, found in after.items() if found}
    assert filled == {"gangs": 1, "hosts": 2, "join_tokens": 2, "users": 3, **HELD[name]}


@OLD
def test_a_migrated_database_has_the_tables_of_a_new_one(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    SqlStore(tmp_path).close()
    with sqlite_engine(tmp_path / "coordinator.db").connect() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(metadata.tables)
        for name, table in metadata.tables.items():
            assert [column["name"] for column in found.get_columns(name)] == [column.name for column in table.columns]


def loaded_from(directory: Path, name: str) -> Loaded:
    """What a store reads of the old database in an empty directory, once it has migrated it."""
    lay(directory, name)
    store = SqlStore(directory)
    try:
        return store.load()
    finally:
        store.close()


@OLD
def test_old_records_read_as_what_they_were(tmp_path: Path, name: str) -> None:
    loaded = loaded_from(tmp_path, name)
    jobs = {job.name: job for job in loaded.jobs}
    assert ALL_HAVE.items() <= {name: job.state for name, job in jobs.items()}.items()
    assert jobs["failed"].exit_code == 3
    nodes = [node for node in loaded.nodes if loaded.jobs[int(node.job_id[2:]) - 1].name in ALL_HAVE]
    assert Counter(node.state for node in nodes) == {
        NodeState.DONE: 4,
        NodeState.FAILED: 1,
        NodeState.STOPPED: 1,
        NodeState.RUNNING: 6,
        NodeState.STOPPING: 1,
    }
    (again,) = [node for node in nodes if node.attempt == 2]
    assert (again.job_id, again.rank, again.errors) == (jobs["retried"].id, 0, 1)
    (gang,) = loaded.gangs
    assert gang.phase is GangPhase.RUNNING
    assert gang.group is not None
    assert [member.host_id for member in gang.group.members] == ["h-1", "h-2"]
    assert [(host.name, host.cordoned) for host in loaded.hosts] == [("one", False), ("two", True)]
    assert (loaded.counters.jobs, loaded.counters.hosts) == (len(jobs), 3)
    assert [user.name for user in loaded.users] == ["ada", "admin", "bob"]


@pytest.mark.parametrize("name", FILES[:2])
def test_what_held_hosts_before_there_were_prices_costs_nothing(tmp_path: Path, name: str) -> None:
    loaded = loaded_from(tmp_path, name)
    assert loaded.costs == ()
    assert {(held.price, held.held_since, held.share) for held in loaded.allocations} == {(0.0, 0.0, 1.0)}


def test_what_0003_brought_is_read_as_it_was_written(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, "schema_0003.sql")
    jobs = {job.name: job for job in loaded.jobs}
    assert {name: job.state for name, job in jobs.items()} == ALL_HAVE | SINCE_0003
    nodes = {name: [node for node in loaded.nodes if node.job_id == job.id] for name, job in jobs.items()}
    held = {name: [each for each in loaded.allocations if each.job_id == job.id] for name, job in jobs.items()}
    (failed,) = nodes["failed-twice"]
    assert (failed.attempt, failed.retried_from, failed.exit_code) == (2, 1, 5)
    assert {each.variant for each in (*nodes["variants"], *held["variants"])} == {"small"}
    assert [variant.speed for variant in jobs["variants"].spec.variants] == [2.5, None]
    assert jobs["nightly"].starts_at == 1795572000.0  # 2026-11-25T02:00:00Z
    assert [link.job for link in jobs["after"].spec.after] == [jobs["running-any"].id]
    assert (jobs["swept"].spec.budget, jobs["swept"].spec.max_running, len(held["swept"])) == (100.0, 2, 2)
    (lost,) = nodes["preempted"]
    assert (lost.state, lost.preempted, lost.left_host_id) == (NodeState.PENDING, 1, "h-1")
    assert jobs["preempted"].preempted == 1
    assert held["preempted"] == []
    (price,) = {each.price for each in held["preempts"]}
    assert price == 1.5 * 10 / 16
    (booked,) = loaded.costs
    assert (booked.day, booked.user, booked.backend, booked.attempts) == ("2026-11-24", "admin", "rack", 10)
    assert booked.usd == pytest.approx(sum(job.spent for job in loaded.jobs))
    one, two = loaded.hosts
    assert one.vacate_at == 0.0 < two.vacate_at


@OLD
def test_what_0004_brought_is_empty_in_an_old_database(tmp_path: Path, name: str) -> None:
    loaded = loaded_from(tmp_path, name)
    assert (loaded.rollouts, loaded.host_upgrades, loaded.health, loaded.events) == ((), (), (), ())
    assert {(host.build, host.vacates_for) for host in loaded.hosts} == {("", "")}
    assert {job.preflight for job in loaded.jobs} == {None}
    assert {job.spec.preflight for job in loaded.jobs} == {None}
    assert {(job.spec.image, job.spec.python) for job in loaded.jobs} == {(None, None)}


@OLD
def test_the_same_records_come_through_the_migration_on_postgresql(tmp_path: Path, postgres: Server, name: str) -> None:
    """The tables are made by the migrations up to the old schema, the rows are the old ones; SQLite is the measure."""
    file = lay(tmp_path / "copied", name)
    url = postgres.url(postgres.emptied())
    fill(url, file, name.removeprefix("schema_").removesuffix(".sql"))
    seat = leading(url)
    store = SqlStore(Path(), seat)
    assert store.load() == loaded_from(tmp_path / "sqlite", name)
    with connected(url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    store.close()


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A transaction on PostgreSQL, beside whoever leads there."""
    engine = pooled_engine(make_url(url), 1)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def fill(url: str, file: Path, schema: str) -> None:
    """Make the tables of an old ``schema`` on PostgreSQL, and copy the rows of a database in SQLite into them."""
    with connected(url) as connection, closing(sqlite3.connect(file)) as database:
        command.upgrade(alembic_config(connection), schema)
        there = MetaData()
        there.reflect(connection)
        for name, names in columns(file).items():
            table = there.tables[name]
            flags = {column.name for column in table.columns if isinstance(column.type, Boolean)}
            for row in database.execute(f"SELECT {', '.join(f'{name}.{each}' for each in names)} FROM {name}"):
                values = dict(zip(names, row, strict=True))
                values |= {flag: bool(values[flag]) for flag in flags}
                connection.execute(insert(table).values(values))


def test_fields_of_a_specification_that_the_old_release_did_not_know_take_their_defaults(tmp_path: Path) -> None:
    spec = loaded_from(tmp_path, "schema_0001.sql").jobs[0].spec
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


@OLD
def test_a_migration_that_fails_leaves_the_old_database_untouched(tmp_path: Path, name: str) -> None:
    file = lay(tmp_path, name)
    spoil(file)
    before = dump(file)
    with pytest.raises(StoreError):
        SqlStore(tmp_path)
    assert dump(file) == before


def never_due(file: Path) -> None:
    """Whatever the day on which this is run, the time of no job that waits for one comes meanwhile."""
    with closing(sqlite3.connect(file)) as database, database:
        if "starts_at" in columns(file)["jobs"]:
            database.execute("UPDATE jobs SET starts_at = 4e9 WHERE starts_at > 0")


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("name", "running", "more", "next_job"), [(FILES[0], 6, 0, "j-10"), (FILES[-1], 11, 1, "j-17")]
)
def test_a_coordinator_serves_from_it_and_its_jobs_go_on(
    tmp_path: Path, name: str, running: int, more: int, next_job: str
) -> None:
    """What ran goes on; ``more``: what was preempted has room on the fleet's hosts."""
    never_due(lay(tmp_path / "coordinator", name))
    cluster = Cluster(tmp_path)
    with cluster, fleet(cluster.data_dir, cluster.endpoints["agents"], 2) as hosts:
        assert running <= hosts.watch().claimed <= running + more
        assert {name: host["state"] for name, host in cluster.hosts().items()} == {"one": "online", "two": "online"}
        hosts.end(0)
        for job in ("retried", "running-any", "running-cluster"):
            assert cluster.wait(job, timeout=20) == 0
        assert cluster.wait("stopping", timeout=20) == 76
        assert [node["attempt"] for node in cluster.nodes("retried")] == [2, 1]
        assert cluster.run("wait", "failed", check=False).code == 3
        assert cluster.submit("--queue", "--nodes", "9", "--", "true") == next_job
        cluster.run("host", "resume", "two")
        assert {job["name"]: job["state"] for job in cluster.run("ps", "--json").json["jobs"]}["waiting"] == "queued"
