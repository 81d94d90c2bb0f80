"""Served time for durations, hosts that are drained for their protocol."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns; rows of before take their defaults."""
    op.add_column("jobs", sa.Column("waiting_since", sa.Double(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("drained", sa.Text(), nullable=False, server_default=""))
