"""Bringing a database to the schema of this release, in one transaction.

Alembic is imported only for a database that an older release wrote: it costs 60 MB and 200 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, inspect, select

from coordinator.store.api import StoreError, StoreTooNew
from coordinator.store.schema import HEAD, alembic_version, metadata

if TYPE_CHECKING:
    from alembic.config import Config


def bring_up(connection: Connection) -> None:
    """Make or migrate the tables, within the caller's transaction. Raises StoreTooNew or StoreError."""
    version = _version(connection)
    if version is None:
        _create(connection)
    elif version != HEAD:
        _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(alembic_version.name):
        return None
    return str(connection.execute(select(alembic_version.c.version_num)).scalar_one())


def _create(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(alembic_version).values(version_num=HEAD))


def _upgrade(connection: Connection, version: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = alembic_config(connection)
    try:
        ScriptDirectory.from_config(config).get_revision(version)
    except CommandError:
        raise StoreTooNew(
            f"the database has schema {version}, this release knows up to {HEAD};"
            " run the newer release, or restore an older backup"
        ) from None
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise StoreError(f"the database can't be migrated from schema {version} to {HEAD}: {error}") from error


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings, made in code because an installed release has no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "coordinator.store:migrations")
    config.attributes["connection"] = connection
    return config
