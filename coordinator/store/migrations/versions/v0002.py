"""Served time, drained hosts, survivors and spares of gangs, and what coordinators on PostgreSQL share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns, of which rows of before take the defaults, and the tables that coordinators share."""
    op.add_column("jobs", sa.Column("avoids", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("spares_taken", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("waiting_since", sa.Double(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("latest_attempt", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("copies_failed", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("failed_host_id", sa.Text(), nullable=True))
    op.add_column("hosts", sa.Column("drained", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "leadership",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("agents", sa.Text(), nullable=False),
        sa.Column("ca_pem", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "coordinators",
        sa.Column("api", sa.Text(), primary_key=True),
        sa.Column("agents", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outputs",
        sa.Column("allocation_id", sa.Text(), primary_key=True),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "output_pieces",
        sa.Column("allocation_id", sa.Text(), primary_key=True),
        sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archives",
        sa.Column("sha256", sa.Text(), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archive_pieces",
        sa.Column("sha256", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
