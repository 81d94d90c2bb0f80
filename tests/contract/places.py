"""Where a store keeps its records, so that a test can close it and open it again: memory or an SQLite directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from coordinator.store import Store
from coordinator.store.sql import SqlStore
from tests.fakes.memory_store import MemoryDisk, MemoryStore

KINDS = ("memory", "sqlite")


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


@contextmanager
def fresh(kind: str) -> Iterator[Place]:
    """An empty place of a kind of ``KINDS``."""
    if kind == "memory":
        yield _Memory()
        return
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
