"""Alembic's entry: runs the revisions on the connection, and in the transaction, that ``store.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from coordinator.store.schema import metadata

# Batch mode: SQLite changes a table's columns by copying it.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
