"""The tables. Whoever changes them adds a migration and raises ``HEAD``; a test compares the two.

Jobs, nodes and allocations have flat columns, because they change all the time; what is written once and read whole
(specification, hardware, facts) is JSON text. No foreign keys: records are checked before they come here.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    false,
)

HEAD = "0004"

metadata = MetaData()


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    # Columns that a migration added have a default, which the rows of before take.
    return Column(name, Text, nullable=nullable, server_default=default)


def _int(name: str, *, nullable: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=default)


def _real(name: str, *, default: str | None = None) -> Column[float]:
    return Column(name, Double, nullable=False, server_default=default)


def _flag(name: str, *, added: bool = False) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false() if added else None)


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _part_key(name: str) -> Column[int]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _table(name: str, *columns: Column[str] | Column[int] | Column[float] | Column[bool] | Column[bytes]) -> Table:
    # One B-tree a table in SQLite: half the pages to write of a table with a rowid and a separate key.
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


jobs = _table(
    "jobs",
    _key("id"),
    _int("number"),
    _text("name"),
    _text("user"),
    _text("request_id"),
    _text("spec"),
    _real("submitted_at"),
    _text("state"),
    _text("reason"),
    _int("exit_code", nullable=True),
    _int("generation"),
    _int("host_failures"),
    _int("errors"),
    _real("failing_since"),
    _real("started_at"),
    _real("ended_at"),
    _int("version"),
    _text("avoids", default=""),
    _int("spares_taken", default="0"),
    _real("waiting_since", default="0"),
    _real("spent", default="0"),
    _real("starts_at", default="0"),
    _int("retried_from", default="0"),
    _int("preempted", default="0"),
    _text("preflight", nullable=True),
)

nodes = _table(
    "nodes",
    _key("job_id"),
    _part_key("rank"),
    _text("state"),
    _int("attempt"),
    _text("host_id", nullable=True),
    _int("exit_code", nullable=True),
    _text("cause", nullable=True),
    _text("reason"),
    _text("gpus"),
    _text("address"),
    _real("started_at"),
    _real("ended_at"),
    _int("log_bytes"),
    _int("host_failures"),
    _int("errors"),
    _real("failing_since"),
    _int("latest_attempt", default="0"),
    _int("copies_failed", default="0"),
    _text("failed_host_id", nullable=True),
    _text("variant", default=""),
    _int("retried_from", default="0"),
    _int("preempted", default="0"),
    _text("left_host_id", nullable=True),
)

allocations = _table(
    "allocations",
    _key("id"),
    _text("job_id"),
    _int("rank"),
    _int("attempt"),
    _text("host_id"),
    _int("cpus"),
    _int("memory_bytes"),
    _text("gpus"),
    _text("wanted"),
    _text("observed"),
    _real("started_at"),
    _text("address"),
    _int("master_port"),
    _text("stop_reason"),
    _real("stop_grace"),
    _text("stop_signal"),
    _text("variant", default=""),
    _real("share", default="1"),
    _real("price", default="0"),
    _real("held_since", default="0"),
    _flag("ready", added=True),
    _text("behind", nullable=True),
    _text("preempted_by", default=""),
)

gangs = _table(
    "gangs",
    _key("job_id"),
    _int("generation"),
    _text("phase"),
    _text("network"),
    _text("formed", nullable=True),
    _text("reason"),
    _int("exit_code", nullable=True),
    _flag("retry"),
)

hosts = _table(
    "hosts",
    _key("id"),
    _text("name"),
    _text("facts"),
    _real("joined_at"),
    _text("machine_id"),
    _text("hardware", nullable=True),
    _text("peer"),
    _text("state"),
    _flag("cordoned"),
    _int("epoch"),
    _text("agent_version"),
    _real("last_seen_at"),
    _text("drained", default=""),
    _real("vacate_at", default="0"),
    _text("build", default=""),
    _text("vacates_for", default=""),
)

join_tokens = _table(
    "join_tokens",
    _key("id"),
    _text("secret_hash"),
    _real("created_at"),
    _real("expires_at"),
    _int("uses_left", nullable=True),
    _text("labels"),
    _text("created_by"),
    _flag("revoked"),
)

users = _table(
    "users",
    _key("name"),
    _text("role"),
    _text("token_hash"),
    _real("created_at"),
)

costs = _table(
    "costs",
    _key("day"),
    _key("user"),
    _key("backend"),
    _real("usd"),
    _real("gpu_seconds"),
    _real("cpu_seconds"),
    _int("attempts"),
)

# All that is kept of the health of one host's GPUs, as JSON: it changes seldom, and is read whole.
host_health = _table("host_health", _key("host_id"), _text("health"))

host_events = _table(
    "host_events",
    _part_key("number"),
    _real("at"),
    _text("host_id"),
    _text("host"),
    _text("kind"),
    _text("text"),
    _text("gpu"),
    _text("evidence"),
)

rollouts = _table(
    "rollouts",
    _part_key("number"),
    _text("version"),
    _text("build"),
    _text("sha256"),
    _int("size"),
    _int("batch"),
    _int("max_failures"),
    _real("install_seconds"),
    _text("user"),
    _real("started_at"),
    _text("state"),
    _text("reason"),
    _real("ended_at"),
)

host_upgrades = _table(
    "host_upgrades",
    _key("host_id"),
    _int("rollout"),
    _int("place"),
    _text("step"),
    _text("reason"),
    _text("from_build"),
    _real("due_since"),
    _real("changed_at"),
)

counters = _table("counters", _key("name"), _int("value"))

# What follows is used on PostgreSQL alone, where several coordinators share it. With SQLite there is one coordinator,
# and output and files of jobs are files beside the database.

# One row: the term that writes, where its coordinator is, and the certificate of the cluster's CA.
leadership = _table("leadership", _key("name"), _int("term"), _text("api"), _text("agents"), _text("ca_pem"))

# Where each coordinator answers, leading or not, and when it last said so.
coordinators = _table("coordinators", _key("api"), _text("agents"), _real("seen_at"))

outputs = _table("outputs", _key("allocation_id"), _text("job_id"), _int("size"), _text("gaps"))

output_pieces = _table("output_pieces", _key("allocation_id"), _part_key("start"), _bytes("data"))

archives = _table("archives", _key("sha256"), _int("size"), _real("used_at"))

archive_pieces = _table("archive_pieces", _key("sha256"), _part_key("number"), _bytes("data"))

# Alembic's own table, made here so that a new database needs no Alembic.
alembic_version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
