"""Connections to PostgreSQL: how a dead server, and a dead client, are noticed within seconds, and what is durable."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool, QueuePool

from coordinator.store.api import StoreError

CONNECT_SECONDS = 3
LOCK_IDLE_SECONDS = 5
"""The server ends the leader's session, and so lets go of its lock, when nothing was heard of it for so long."""

# Oldest with idle_session_timeout and client_connection_check_interval.
_OLDEST = 140000

# This side's view of a server that is gone; what the URL says of them counts more.
_CLIENT = {
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "application_name": "rallypoint",
}

# The server's view of a coordinator that is gone, by session, so that its own settings need no change.
_SESSION = {
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "client_connection_check_interval": "2000",
    # A coordinator that stops answering amid a transaction holds what its successor waits for.
    "idle_in_transaction_session_timeout": str(LOCK_IDLE_SECONDS * 1000),
}

# Whatever the server's default is, what was acknowledged is on its disk.
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


def leader_engine(url: URL) -> Engine:
    """For the connection that holds the lock: it must be used all the time, or the server ends it."""
    return _engine(url, {"idle_session_timeout": str(LOCK_IDLE_SECONDS * 1000)}, poolclass=NullPool)


def pooled_engine(url: URL, size: int) -> Engine:
    """For up to ``size`` threads that read and write beside the leader's connection."""
    return _engine(url, {}, poolclass=QueuePool, pool_size=size, max_overflow=0, pool_pre_ping=True)


def _engine(url: URL, more: dict[str, str], **pool: Any) -> Engine:
    defaults = {name: value for name, value in _CLIENT.items() if name not in url.query}
    try:
        # Positional parameters, as SQLite has them, so that one form of row serves both.
        engine = create_engine(url, paramstyle="format", connect_args=defaults, **pool)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise StoreError("PostgreSQL needs psycopg; install it with: pip install 'rallypoint[postgres]'") from None

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        if connection.info.server_version < _OLDEST:
            connection.close()
            raise StoreError("PostgreSQL 14 or newer is needed; upgrade the database server")
        with connection.cursor() as cursor:
            for name, value in {**_SESSION, **more}.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            cursor.execute(_DURABLE)
        connection.commit()

    return engine
