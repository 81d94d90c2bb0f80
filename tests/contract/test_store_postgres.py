"""What PostgreSQL alone has to promise: one coordinator leads, another takes over, who was deposed writes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from coordinator.core.changes import JobCreated, NodeUpdated
from coordinator.core.ids import job_id
from coordinator.core.model import Job, Node, NodeState
from coordinator.core.spec import JobSpec
from coordinator.store import Deposed, StoreError, StoreTooNew
from coordinator.store.leadership import PROOF_SECONDS, Leadership, Member
from coordinator.store.migrate import alembic_config
from coordinator.store.postgres import LOCK_IDLE_SECONDS, pooled_engine
from coordinator.store.schema import metadata
from coordinator.store.sql import SqlStore
from tests.contract.places import leading
from tests.contract.writer import RANKS
from tests.fakes import postgres_server
from tests.fakes.postgres_server import PASSWORD, Server
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)

JOB = Job(job_id(1), 1, "train", "admin", "r-1", JobSpec(commands=("true",)), submitted_at=1.0)
NODE = Node(JOB.id, 0, NodeState.PLACED, attempt=1)
ONE, TWO = Member("one:7443", "one:7444"), Member("two:7443", "two:7444")
TAKE_OVER_SECONDS = 10.0
HOLDER = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE leadership%'"


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.url(postgres.emptied())


@pytest.fixture
def first(url: str) -> Iterator[Leadership]:
    seat = leading(url)
    yield seat
    seat.close()


@pytest.fixture
def second(url: str) -> Iterator[Leadership]:
    seat = Leadership(url)
    yield seat
    seat.close()


@contextmanager
def connected(seat: Leadership) -> Iterator[Connection]:
    """A connection beside the leader's."""
    engine = pooled_engine(seat.url, 1)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def depose(postgres: Server, heir: Leadership) -> None:
    """End the leader's connection, as a network that was cut for long would, and let ``heir`` take over."""
    postgres.ask(f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS holder")
    eventually(heir.take, what="the second to lead")


def test_one_leads_the_other_stands_by_and_follows(first: Leadership, second: Leadership) -> None:
    assert not second.take()
    assert (first.term, second.term) == (1, 0)
    first.announce(ONE)
    assert second.stand(TWO) == ONE
    first.close()
    assert second.take()
    assert second.term == 2
    second.announce(TWO)
    assert second.members == (ONE, TWO)


def test_a_deposed_leader_writes_nothing_and_is_told(postgres: Server, url: str, second: Leadership) -> None:
    told: list[StoreError] = []
    first = Leadership(url, told.append)
    assert first.take()
    store = SqlStore(Path(), first)
    store.commit([JobCreated(JOB)])
    depose(postgres, second)
    second.announce(TWO)
    with pytest.raises(StoreError):
        store.commit([NodeUpdated(NODE)])
    with pytest.raises(Deposed, match=r"another coordinator \(two:7443\) leads on .*, in term 2, and the term of this"):
        store.commit([NodeUpdated(NODE)])
    assert not first.leads()
    heir = SqlStore(Path(), second)
    assert (heir.load().jobs, heir.load().nodes) == ((JOB,), ())
    eventually(lambda: told, what="word that the lead is lost")
    store.close()


def test_a_transaction_on_another_connection_is_fenced_too(
    postgres: Server, url: str, first: Leadership, second: Leadership
) -> None:
    with connected(first) as beside:
        with beside.begin():
            first.fence(beside)
        depose(postgres, second)
        with beside.begin(), pytest.raises(Deposed):
            first.fence(beside)


def test_a_successor_waits_for_what_its_predecessor_is_just_writing(postgres: Server, url: str) -> None:
    first = leading(url)
    with connected(first) as beside:
        transaction = beside.begin()
        first.fence(beside)
        first.close()
        words = [sys.executable, "-m", "tests.contract.writer", url, "1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as heir:
            eventually(lambda: postgres.ask(WAITING), what="a successor that waits")
            beside.exec_driver_sql("UPDATE leadership SET ca_pem = 'written'")
            transaction.commit()
            assert heir.stdout is not None
            assert heir.stdout.readline() == "1\n"
            heir.kill()
    assert postgres.ask("SELECT term, ca_pem FROM leadership") == [(2, "written")]


def test_a_broken_connection_is_made_anew_while_nobody_else_leads(postgres: Server, first: Leadership) -> None:
    store = SqlStore(Path(), first)
    store.commit([JobCreated(JOB)])
    postgres.ask(f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS holder")
    eventually(lambda: store.load().jobs if _works(store) else (), what="the lead to be had back")
    store.commit([NodeUpdated(NODE)])
    assert store.load().nodes == (NODE,)
    assert first.term == 1


def _works(store: SqlStore) -> bool:
    try:
        store.load()
    except StoreError:
        return False
    return True


def test_a_server_that_is_away_is_waited_for_and_nobody_is_served_meanwhile() -> None:
    with postgres_server.running() as server:
        first = leading(server.url())
        store = SqlStore(Path(), first)
        store.commit([JobCreated(JOB)])
        server.stop()
        with pytest.raises(StoreError):
            store.commit([NodeUpdated(NODE)])
        eventually(lambda: not first.leads(), PROOF_SECONDS + 2, "the leader's doubt")
        server.start()
        store.commit([NodeUpdated(NODE)])
        assert first.leads()
        assert store.load().nodes == (NODE,)
        store.close()


def test_a_server_that_stays_away_is_given_up_when_told_to() -> None:
    with postgres_server.running() as server:
        first = leading(server.url())
        server.stop()
        first.give_up()
        store = SqlStore(Path(), first)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"database postgresql://rally@127\.0\.0\.1:\d+/postgres"):
                store.load()
        store.close()


def test_nothing_acknowledged_is_lost_and_the_next_leads_within_a_second_when_the_leader_is_killed(url: str) -> None:
    acknowledged = 0
    for acknowledge in (1, 30, 100):
        words = [sys.executable, "-m", "tests.contract.writer", url, str(acknowledged + 1)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(acknowledge):
                writer.stdout.readline()
            writer.kill()
            rest = [line for line in writer.stdout.read().split("\n") if line]
        seat = Leadership(url)
        eventually(seat.take, TAKE_OVER_SECONDS, "the next leader")
        loaded = SqlStore(Path(), seat).load()
        seat.close()
        attempts = {node.attempt for node in loaded.nodes}
        assert len(loaded.nodes) == len(RANKS)
        assert len(attempts) == 1, "a commit is there in part"
        (last,) = attempts
        assert last >= acknowledged + acknowledge + len(rest)
        assert len(loaded.allocations) == last
        acknowledged = last


def test_a_frozen_leader_is_deposed_within_seconds_and_writes_nothing_when_it_thaws(
    postgres: Server, url: str, second: Leadership
) -> None:
    words = [sys.executable, "-m", "tests.contract.writer", url, "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        eventually(second.take, TAKE_OVER_SECONDS, "the second to lead")
        found = SqlStore(Path(), second).load()
        writer.send_signal(signal.SIGCONT)
        acknowledged, said = writer.communicate(timeout=30)
    assert time.monotonic() - began > LOCK_IDLE_SECONDS - 1
    assert writer.returncode == 1
    assert "StoreError" in said or "Deposed" in said
    numbers = [line for line in acknowledged.splitlines() if line.isdigit()]
    assert 1 + len(numbers) <= len(found.allocations)
    assert SqlStore(Path(), second).load() == found


def test_what_is_acknowledged_is_durable_whatever_the_server_says(postgres: Server) -> None:
    name = postgres.new_database()
    postgres.ask(f"ALTER DATABASE {name} SET synchronous_commit = off")
    seat = leading(postgres.url(name))
    with seat.transaction() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    seat.close()


@pytest.mark.parametrize("query", ["", "?password=" + PASSWORD + "-x"])
def test_errors_name_the_database_and_never_the_password(postgres: Server, query: str) -> None:
    wrong = postgres.url(password="wrong-" + PASSWORD) + query
    with pytest.raises(StoreError) as refused:
        Leadership(wrong)
    assert "password authentication failed" in str(refused.value)
    assert f"database postgresql://rally@127.0.0.1:{postgres.port}/postgres failed" in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_the_password_may_come_from_where_postgresqls_own_tools_find_it(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = postgres.url().replace(f":{PASSWORD}@", "@")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{postgres.port}:*:rally:{PASSWORD}\n")
    file.chmod(0o600)
    for name, value in (("PGPASSWORD", PASSWORD), ("PGPASSFILE", str(file))):
        with monkeypatch.context() as environ:
            environ.setenv(name, value)
            Leadership(bare).close()


@pytest.mark.parametrize("url", ["mysql://host/x", "not a url"])
def test_a_url_that_is_not_postgresql_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="write postgresql://USER@HOST/DATABASE"):
        Leadership(url)


def test_migrations_give_the_schema_of_a_new_database(url: str, second: Leadership) -> None:
    with second._engine.begin() as connection:
        command.upgrade(alembic_config(connection), "head")
    with second._engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_of_a_newer_release_is_refused_and_the_lock_let_go(postgres: Server, url: str) -> None:
    leading(url).close()
    postgres.ask("UPDATE alembic_version SET version_num = '9999'")
    seat = Leadership(url)
    with pytest.raises(StoreTooNew):
        seat.take()
    assert postgres.ask(HOLDER) == []
    seat.close()
