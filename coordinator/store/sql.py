"""The store on SQLite or PostgreSQL: SQLAlchemy Core, one connection, one writer thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, select

from coordinator.store import rows, schema
from coordinator.store.api import Counters, Loaded, StoredChange
from coordinator.store.batch import Batch, fold, numbered
from coordinator.store.database import database_url, make_private, open_engine, translated
from coordinator.store.lock import DirectoryLock
from coordinator.store.migrate import bring_up
from coordinator.store.statements import Updater, Writer

_PROGRESS = (
    "state",
    "reason",
    "exit_code",
    "generation",
    "host_failures",
    "errors",
    "failing_since",
    "started_at",
    "ended_at",
    "version",
)
_MANY = (32, 8, 1)

K = TypeVar("K", bound=str)
R = TypeVar("R")


class SqlStore:
    """A ``Store`` in a data directory: its lock, and its SQLite file unless a PostgreSQL URL is given."""

    def __init__(self, directory: Path, url: str | None = None) -> None:
        """Lock ``directory`` (which exists), open the database and bring it to this release's schema.

        Raises StoreBusy when another coordinator is there, StoreTooNew, StoreFull, or StoreError.
        """
        self._url = database_url(directory, url)
        self._lock = DirectoryLock(directory)
        try:
            if url is None:
                make_private(Path(str(self._url.database)))
            self._engine = open_engine(self._url)
            self._connection = self._connect()
        except BaseException:
            self._lock.release()
            raise
        self._writers = _Writers(self._engine)

    def _connect(self) -> Connection:
        with translated(self._url):
            connection = self._engine.connect()
            try:
                with connection.begin():
                    bring_up(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def load(self) -> Loaded:
        """See ``Store.load``."""
        with translated(self._url), self._connection.begin():
            read = _Reader(self._connection)
            jobs = read.all(schema.jobs, rows.read_job, schema.jobs.c.number)
            hosts = sorted(read.all(schema.hosts, rows.read_host), key=lambda host: numbered(host.id))
            counters = read.counters()
            return Loaded(
                jobs=jobs,
                nodes=read.all(schema.nodes, rows.read_node),
                allocations=read.all(schema.allocations, rows.read_allocation),
                gangs=read.all(schema.gangs, rows.read_gang),
                hosts=tuple(hosts),
                join_tokens=read.all(schema.join_tokens, rows.read_token),
                users=read.all(schema.users, rows.read_user),
                counters=Counters(
                    jobs=max([counters.get("jobs", 0), *(job.number for job in jobs)]),
                    hosts=max([counters.get("hosts", 0), *(numbered(host.id) for host in hosts)]),
                    served=counters.get("served", 0),
                    attempts=counters.get("attempts", 0),
                ),
            )

    def commit(self, changes: Sequence[StoredChange]) -> None:
        """See ``Store.commit``."""
        batch = fold(changes)
        with translated(self._url), self._connection.begin():
            self._writers.write(self._connection, batch)

    def close(self) -> None:
        """See ``Store.close``."""
        self._connection.close()
        self._engine.dispose()
        self._lock.release()


class _Writers:
    """The prepared statements of every table, and the order in which a batch is written by them."""

    def __init__(self, engine: Engine) -> None:
        dialect = engine.dialect
        self._jobs = Writer(schema.jobs, dialect)
        self._progress = Updater(schema.jobs, "id", _PROGRESS, dialect)
        self._nodes = Writer(schema.nodes, dialect, _MANY)
        self._allocations = Writer(schema.allocations, dialect, _MANY)
        self._gangs = Writer(schema.gangs, dialect)
        self._hosts = Writer(schema.hosts, dialect)
        self._tokens = Writer(schema.join_tokens, dialect)
        self._users = Writer(schema.users, dialect)
        self._counters = Writer(schema.counters, dialect)

    def write(self, connection: Connection, batch: Batch) -> None:
        """Write what ``batch`` came to, within the caller's transaction."""
        self._write_jobs(connection, batch)
        nodes = [node for ranks in batch.nodes.values() for node in ranks.values()]
        self._nodes.put(connection, [rows.node_row(node) for node in nodes])
        _settle(connection, self._allocations, batch.allocations, rows.allocation_row)
        _settle(connection, self._gangs, batch.gangs, rows.gang_row)
        _settle(connection, self._hosts, batch.hosts, rows.host_row)
        _settle(connection, self._tokens, batch.tokens, rows.token_row)
        _settle(connection, self._users, batch.users, rows.user_row)
        self._write_counters(connection, batch.counters)

    def _write_jobs(self, connection: Connection, batch: Batch) -> None:
        if batch.forgotten:
            self._jobs.remove(connection, list(batch.forgotten))
            self._nodes.remove(connection, list(batch.forgotten))
        self._jobs.put(connection, [rows.job_row(job) for job in batch.created.values()])
        self._progress.set(connection, [(*rows.job_progress(job), job.id) for job in batch.updated.values()])

    def _write_counters(self, connection: Connection, reached: Counters) -> None:
        if reached == Counters():
            return
        known = _Reader(connection).counters()
        highest = {name: max(value, known.get(name, 0)) for name, value in asdict(reached).items()}
        self._counters.put(connection, list(highest.items()))


def _settle(
    connection: Connection, writer: Writer, outcome: Mapping[K, R | None], row: Callable[[R], rows.Values]
) -> None:
    removed = [key for key, record in outcome.items() if record is None]
    writer.remove(connection, removed)
    writer.put(connection, [row(record) for record in outcome.values() if record is not None])


class _Reader:
    """Reads whole tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, table: Table, read: Callable[[Any], R], order: ColumnElement[Any] | None = None) -> tuple[R, ...]:
        """Every record, in the order of the primary key unless another is given."""
        keys: Iterable[ColumnElement[Any]] = table.primary_key if order is None else (order,)
        found = self._connection.execute(select(table).order_by(*keys))
        return tuple(read(row) for row in found.mappings())

    def counters(self) -> dict[str, int]:
        """The highest numbers among what was forgotten."""
        found = self._connection.execute(select(schema.counters))
        return {row.name: row.value for row in found}
