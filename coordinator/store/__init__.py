"""Durability: the ``Store`` protocol that the engine writes through, and its SQL form (SQLite or PostgreSQL).

*Commit* is one transaction of *changes*; what was committed is on disk. Import ``SqlStore`` from ``store.sql``: this
package itself loads no database library.
"""

from coordinator.store.api import (
    Counters,
    Deposed,
    LeaseGiven,
    Loaded,
    Store,
    StoreBusy,
    StoredChange,
    StoreError,
    StoreFull,
    StoreTooNew,
)

__all__ = [
    "Counters",
    "Deposed",
    "LeaseGiven",
    "Loaded",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreTooNew",
    "StoredChange",
]
