"""Alembic revisions, oldest first; run in code by ``store.migrate``, never by a command."""
