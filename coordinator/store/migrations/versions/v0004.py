"""Upgrades of hosts, and which version each runs; why hosts asked for their own drain; what groups measured; the health
of GPUs, and what happened to hosts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns, of which rows of before take the defaults, and tables."""
    op.add_column("hosts", sa.Column("build", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "rollouts",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("build", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("max_failures", sa.BigInteger(), nullable=False),
        sa.Column("install_seconds", sa.Double(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "host_upgrades",
        sa.Column("host_id", sa.Text(), primary_key=True),
        sa.Column("rollout", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("from_build", sa.Text(), nullable=False),
        sa.Column("due_since", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("hosts", sa.Column("vacates_for", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("preflight", sa.Text(), nullable=True))
    op.create_table(
        "host_health",
        sa.Column("host_id", sa.Text(), primary_key=True),
        sa.Column("health", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "host_events",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("gpu", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
