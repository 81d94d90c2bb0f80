"""The schema: new databases are made without Alembic, and its migrations lead to exactly the same tables."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from coordinator.store import StoreTooNew
from coordinator.store.migrate import alembic_config, bring_up
from coordinator.store.schema import HEAD, metadata
from coordinator.store.sql import SqlStore
from coordinator.store.sqlite import sqlite_engine


def engine_in(directory: Path) -> Engine:
    directory.mkdir()
    return sqlite_engine(directory / "coordinator.db")


def tables(directory: Path) -> dict[str, str]:
    """Each table's definition, without differences of layout."""
    with closing(sqlite3.connect(directory / "coordinator.db")) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def test_migrations_from_nothing_give_the_schema_of_a_new_database(tmp_path: Path) -> None:
    SqlStore(tmp_path).close()
    with engine_in(tmp_path / "migrated").begin() as connection:
        command.upgrade(alembic_config(connection), "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrated, made = tables(tmp_path / "migrated"), tables(tmp_path)
    assert migrated.keys() == made.keys() == metadata.tables.keys()
    assert migrated == made


def test_the_head_known_in_code_is_the_last_migration(tmp_path: Path) -> None:
    with engine_in(tmp_path / "new").begin() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    assert script.get_heads() == [HEAD]


def test_a_migration_that_dies_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    with engine_in(tmp_path / "new").connect() as connection:
        transaction = connection.begin()
        command.upgrade(alembic_config(connection), "head")
        transaction.rollback()
    assert tables(tmp_path / "new") == {}


def test_opening_a_database_of_this_release_loads_no_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from coordinator.store.sql import SqlStore;"
        "SqlStore(Path(sys.argv[1])).close(); SqlStore(Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqlStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "coordinator.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreTooNew, match=f"has schema 9999, this release knows up to {HEAD}; run the newer release"):
        SqlStore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "coordinator.db")) as connection, connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_bringing_up_twice_changes_nothing(tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "new")
    for _ in range(2):
        with engine.begin() as connection:
            bring_up(connection)
    assert tables(tmp_path / "new").keys() == metadata.tables.keys()
