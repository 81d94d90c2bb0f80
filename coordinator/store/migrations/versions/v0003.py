"""Prices and variants of allocations, what jobs cost and have cost users, schedules, hosts that are vacated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns, of which rows of before take the defaults, and a table."""
    op.add_column("jobs", sa.Column("spent", sa.Double(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("starts_at", sa.Double(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("retried_from", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("variant", sa.Text(), nullable=False, server_default=""))
    op.add_column("nodes", sa.Column("retried_from", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("allocations", sa.Column("variant", sa.Text(), nullable=False, server_default=""))
    op.add_column("allocations", sa.Column("share", sa.Double(), nullable=False, server_default="1"))
    op.add_column("allocations", sa.Column("price", sa.Double(), nullable=False, server_default="0"))
    op.add_column("allocations", sa.Column("held_since", sa.Double(), nullable=False, server_default="0"))
    op.add_column("allocations", sa.Column("ready", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("allocations", sa.Column("behind", sa.Text()))
    op.add_column("jobs", sa.Column("preempted", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("preempted", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("left_host_id", sa.Text(), nullable=True))
    op.add_column("allocations", sa.Column("preempted_by", sa.Text(), nullable=False, server_default=""))
    op.add_column("hosts", sa.Column("vacate_at", sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "costs",
        sa.Column("day", sa.Text(), primary_key=True),
        sa.Column("user", sa.Text(), primary_key=True),
        sa.Column("backend", sa.Text(), primary_key=True),
        sa.Column("usd", sa.Double(), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
