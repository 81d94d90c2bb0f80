"""SQL texts, compiled once by SQLAlchemy for the dialect in use and then run as they are.

Rows go in many to a statement, in few fixed sizes so that each text is prepared once. One statement is one release of
the interpreter's lock: a row a statement made a commit of 50 rows take 31 ms instead of 0.1 while another thread was
busy, because each row had to win the lock back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Connection, Dialect, Table, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from coordinator.store.rows import Values

T = TypeVar("T")
Params = dict[str, BindParameter[Any]]


class Writer:
    """Stores and removes the rows of one table by its primary key, ``sizes`` (falling, to 1) at a time."""

    def __init__(self, table: Table, dialect: Dialect, sizes: Sequence[int] = (1,)) -> None:
        self._sizes = tuple(sizes)
        # At first use: all texts of all tables take a quarter of a coordinator's start.
        self._upsert = cache(lambda size: _compiled(_upsert(table, dialect, size), dialect))
        self._delete = cache(lambda size: _compiled(_delete(table, size), dialect))

    def put(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Store ``rows``, each in the order of the table's columns; their keys differ."""
        for part in _parts(rows, self._sizes):
            connection.exec_driver_sql(self._upsert(len(part)), tuple(chain.from_iterable(part)))

    def remove(self, connection: Connection, keys: Sequence[str] | Sequence[int]) -> None:
        """Remove the rows whose first key column is one of ``keys``."""
        for part in _parts(keys, self._sizes):
            connection.exec_driver_sql(self._delete(len(part)), tuple(part))


class Updater:
    """Writes some columns of rows that exist, named by ``key``."""

    def __init__(self, table: Table, key: str, columns: Sequence[str], dialect: Dialect) -> None:
        values: Params = {name: bindparam(f"new_{name}") for name in columns}
        self._text = _compiled(update(table).where(table.c[key] == bindparam("which")).values(values), dialect)

    def set(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Each row: the columns' values in order, then the key."""
        for row in rows:
            connection.exec_driver_sql(self._text, row)


def _parts(items: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    done = 0
    for size in sizes:
        while len(items) - done >= size:
            yield items[done : done + size]
            done += size


def _upsert(table: Table, dialect: Dialect, size: int) -> ClauseElement:
    names = [column.name for column in table.columns]
    rows: list[Params] = [{name: bindparam(f"{name}_{row}") for name in names} for row in range(size)]
    keys = [column.name for column in table.primary_key]
    build = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
    statement = build(table).values(rows)
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _delete(table: Table, size: int) -> ClauseElement:
    first = next(iter(table.primary_key))
    return delete(table).where(first.in_([bindparam(f"key_{number}") for number in range(size)]))


def _compiled(statement: ClauseElement, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))
