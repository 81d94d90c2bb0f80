"""Where a store keeps its records, so that a test can close it and open it again: memory, SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from coordinator.store import Store
from coordinator.store.leadership import Leadership
from coordinator.store.sql import SqlStore
from tests.fakes.memory_store import MemoryDisk, MemoryStore
from tests.fakes.postgres_server import Server

KINDS = ("memory", "sqlite", "postgres")


class Place(Protocol):
    """Opens stores, one after the other, on the same records."""

    def open(self) -> Store: ...


class _Memory:
    def __init__(self) -> None:
        self._disk = MemoryDisk()

    def open(self) -> Store:
        return MemoryStore(self._disk)


class _Sqlite:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> Store:
        return SqlStore(self._directory)


class _Postgres:
    def __init__(self, url: str) -> None:
        self._url = url

    def open(self) -> Store:
        return SqlStore(Path(), leading(self._url))


def leading(url: str) -> Leadership:
    """The lead on a database where nobody has it."""
    seat = Leadership(url)
    assert seat.take(), "another one leads"
    return seat


@contextmanager
def fresh(kind: str, server: Callable[[], Server]) -> Iterator[Place]:
    """An empty place of a kind of ``KINDS``; ``server`` gives the PostgreSQL server."""
    if kind == "memory":
        yield _Memory()
    elif kind == "postgres":
        yield _Postgres(server().url(server().emptied()))
    else:
        with TemporaryDirectory() as directory:
            yield _Sqlite(Path(directory))


@contextmanager
def opened(place: Place) -> Iterator[Store]:
    """A store on ``place``, closed at the end."""
    store = place.open()
    try:
        yield store
    finally:
        store.close()
