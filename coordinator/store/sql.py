"""The store on SQLite or PostgreSQL: SQLAlchemy Core, one connection, one writer thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Dialect, RowMapping, Table, select

from coordinator.core.health_records import KEPT_EVENTS
from coordinator.store import rows, schema
from coordinator.store.api import Counters, Loaded, StoredChange, StoreFull
from coordinator.store.batch import Batch, fold, numbered
from coordinator.store.sqlite import SqliteFile
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
    "avoids",
    "spares_taken",
    "waiting_since",
    "spent",
    "starts_at",
    "retried_from",
    "preempted",
    "preflight",
)
_MANY = (32, 8, 1)
_RECORDS = (
    schema.jobs,
    schema.nodes,
    schema.allocations,
    schema.gangs,
    schema.hosts,
    schema.costs,
    schema.rollouts,
    schema.host_health,
    schema.host_events,
    schema.host_upgrades,
    schema.join_tokens,
    schema.users,
)

K = TypeVar("K", bound=str)
R = TypeVar("R")


class Database(Protocol):
    """What the store writes through: transactions on one connection."""

    @property
    def dialect(self) -> Dialect:
        """In which SQL is written."""
        ...

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction that only the one rightful writer gets. Raises StoreError, StoreFull or Deposed."""
        ...

    def make_room(self) -> bool:
        """Free space that was held for a full disk; False when there is none."""
        ...

    def close(self) -> None:
        """Let go of files, connections and locks; harmless when repeated."""
        ...


class SqlStore:
    """A ``Store`` on SQLite in a data directory, or on the ``database`` of one who leads."""

    def __init__(self, directory: Path, database: Database | None = None) -> None:
        """Without ``database``: lock ``directory`` (which exists), open its file, bring it to this release's schema.

        Raises StoreBusy when another coordinator is there, StoreTooNew, StoreFull, or StoreError.
        """
        self._database: Database = database or SqliteFile(directory)
        self._writers = _Writers(self._database.dialect)

    def load(self) -> Loaded:
        """See ``Store.load``."""
        with self._database.transaction() as connection:
            # Read as records only after the transaction: with many that takes longer than a leader may be silent.
            found = {table.name: _all(connection, table) for table in _RECORDS}
            counters = _counters(connection)
        jobs = sorted(map(rows.read_job, found["jobs"]), key=lambda job: job.number)
        hosts = sorted(map(rows.read_host, found["hosts"]), key=lambda host: numbered(host.id))
        return Loaded(
            jobs=tuple(jobs),
            nodes=tuple(map(rows.read_node, found["nodes"])),
            allocations=tuple(map(rows.read_allocation, found["allocations"])),
            gangs=tuple(map(rows.read_gang, found["gangs"])),
            hosts=tuple(hosts),
            costs=tuple(map(rows.read_cost, found["costs"])),
            health=tuple(map(rows.read_health, found["host_health"])),
            events=tuple(map(rows.read_event, found["host_events"])),
            rollouts=tuple(map(rows.read_rollout, found["rollouts"])),
            host_upgrades=tuple(map(rows.read_host_upgrade, found["host_upgrades"])),
            join_tokens=tuple(map(rows.read_token, found["join_tokens"])),
            users=tuple(map(rows.read_user, found["users"])),
            counters=Counters(
                jobs=max([counters.get("jobs", 0), *(job.number for job in jobs)]),
                hosts=max([counters.get("hosts", 0), *(numbered(host.id) for host in hosts)]),
                served=counters.get("served", 0),
                attempts=counters.get("attempts", 0),
                lease=counters.get("lease", 0),
            ),
        )

    def commit(self, changes: Sequence[StoredChange]) -> None:
        """See ``Store.commit``."""
        batch = fold(changes)
        try:
            self._write(batch)
        except StoreFull:
            if not self._database.make_room():
                raise
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        with self._database.transaction() as connection:
            self._writers.write(connection, batch)

    def close(self) -> None:
        """See ``Store.close``."""
        self._database.close()


class _Writers:
    """The prepared statements of every table, and the order in which a batch is written by them."""

    def __init__(self, dialect: Dialect) -> None:
        self._jobs = Writer(schema.jobs, dialect)
        self._progress = Updater(schema.jobs, "id", _PROGRESS, dialect)
        self._nodes = Writer(schema.nodes, dialect, _MANY)
        self._allocations = Writer(schema.allocations, dialect, _MANY)
        self._gangs = Writer(schema.gangs, dialect)
        self._hosts = Writer(schema.hosts, dialect)
        self._costs = Writer(schema.costs, dialect)
        self._health = Writer(schema.host_health, dialect)
        self._events = Writer(schema.host_events, dialect)
        self._rollouts = Writer(schema.rollouts, dialect)
        self._host_upgrades = Writer(schema.host_upgrades, dialect)
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
        self._costs.put(connection, [rows.cost_row(entry) for entry in batch.costs.values()])
        _settle(connection, self._health, batch.health, rows.health_row)
        self._events.put(connection, [rows.event_row(event) for event in batch.events])
        # Afterwards: with very many at once the first of them are among those that go.
        self._events.remove(connection, [event.number - KEPT_EVENTS for event in batch.events])
        self._rollouts.put(connection, [rows.rollout_row(rollout) for rollout in batch.rollouts.values()])
        _settle(connection, self._host_upgrades, batch.host_upgrades, rows.host_upgrade_row)
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
        known = _counters(connection)
        highest = {name: max(value, known.get(name, 0)) for name, value in asdict(reached).items()}
        if reached.lease:
            highest["lease"] = reached.lease
        self._counters.put(connection, list(highest.items()))


def _settle(
    connection: Connection, writer: Writer, outcome: Mapping[K, R | None], row: Callable[[R], rows.Values]
) -> None:
    removed = [key for key, record in outcome.items() if record is None]
    writer.remove(connection, removed)
    writer.put(connection, [row(record) for record in outcome.values() if record is not None])


def _all(connection: Connection, table: Table) -> Sequence[RowMapping]:
    """Every row, in the order of the primary key."""
    return connection.execute(select(table).order_by(*table.primary_key)).mappings().all()


def _counters(connection: Connection) -> dict[str, int]:
    """The highest numbers among what was forgotten."""
    return {row.name: row.value for row in connection.execute(select(schema.counters))}
