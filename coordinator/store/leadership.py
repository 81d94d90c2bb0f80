"""Which of several coordinators on one PostgreSQL leads, and that no other one writes.

The leader holds an advisory lock by the very connection that it writes through. The server lets go of it when that
connection ends, also when nothing was heard of it for ``LOCK_IDLE_SECONDS``. Each leader has a *term*, a number that it
raised when it took over, and every transaction that writes checks, and locks against change, that its term is the
current one: whoever was deposed without noticing writes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Dialect, delete, extract, func, insert, inspect, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from coordinator.store import schema
from coordinator.store.api import Deposed, StoreError
from coordinator.store.database import place_of, postgres_url, translated
from coordinator.store.migrate import bring_up
from coordinator.store.postgres import leader_engine

log = structlog.get_logger(__name__)

LOCK = 0x52616C6C79
"""The advisory lock's number, in the database's own space of them."""

PING_SECONDS = 1.0
REGISTER_SECONDS = 10.0
PROOF_SECONDS = 3.0
"""A leader that has not been able to prove that it leads for so long answers nobody."""

RECONNECT_SECONDS = 30.0
"""How long a leader tries to come back to its database before it gives up."""

FORGET_SECONDS = 86_400.0
"""A coordinator that has not said where it is for so long is no longer told to others."""

_PAUSE = 0.2
_NAME = "leader"


@dataclass(frozen=True, slots=True)
class Member:
    """Where a coordinator answers, as ``HOST:PORT``: commands at ``api``, agents at ``agents``."""

    api: str
    agents: str


class Leadership:
    """One coordinator's seat at the database: it stands by until ``take`` succeeds, and then leads for one term.

    Its connection is used under a lock by the writer's thread and by the one that keeps the seat.
    """

    def __init__(self, url: str, on_lost: Callable[[StoreError], None] = lambda error: None) -> None:
        """Connect. ``on_lost`` is called once, from a thread of its own, when the lead is lost. Raises StoreError."""
        self.url = postgres_url(url)
        self.term = 0
        self.members: tuple[Member, ...] = ()
        """Every coordinator that is known to be there, the leader among them; kept fresh while leading."""
        self._me: Member | None = None
        self._on_lost = on_lost
        self._engine = leader_engine(self.url)
        self._mutex = threading.RLock()
        self._over = threading.Event()
        self._proven_at = 0.0
        self._meet_again_at = 0.0
        self._deposed: Deposed | None = None
        self._keeper: threading.Thread | None = None
        self._connection: Connection | None = None
        with translated(self.url):
            self._connection = self._engine.connect()

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's."""
        return self._engine.dialect

    # ------------------------------------------------------------ standing by

    def take(self) -> bool:
        """Lead, if nobody else does: the lock, the schema of this release, a new term. Raises StoreError."""
        with translated(self.url):
            connection = self._open()
            try:
                with connection.begin():
                    if not _try_lock(connection):
                        return False
                with connection.begin():
                    bring_up(connection)
                    self.term = _raise_term(connection)
            except BaseException:
                # With the connection goes the lock.
                self._drop()
                raise
        self._proven_at = _now()
        self._keeper = threading.Thread(target=self._keep, name="leadership", daemon=True)
        self._keeper.start()
        return True

    def stand(self, me: Member) -> Member | None:
        """Say where this coordinator answers while it stands by; who leads, if known. Raises StoreError."""
        with translated(self.url):
            connection = self._open()
            try:
                with connection.begin():
                    if not inspect(connection).has_table(schema.coordinators.name):
                        return None
                    self._meet(connection, me)
                    row = connection.execute(select(schema.leadership.c.api, schema.leadership.c.agents)).first()
                    return Member(*row) if row is not None and row.api else None
            except DBAPIError:
                self._drop()
                raise

    # ------------------------------------------------------------ the cluster's CA

    def ca_pem(self) -> str:
        """The certificate of the CA that coordinators on this database share; empty before the first one led."""
        with self._mutex, translated(self.url), self._open().begin():
            if not inspect(self._open()).has_table(schema.leadership.name):
                return ""
            return self._open().execute(select(schema.leadership.c.ca_pem)).scalar() or ""

    def set_ca(self, pem: str) -> None:
        """Keep the CA's certificate for those who come later."""
        with self.transaction() as connection:
            connection.execute(update(schema.leadership).values(ca_pem=pem))

    # ------------------------------------------------------------ leading

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the leader. Raises Deposed, and StoreError when the database can't be used.

        A connection that broke is made anew here, and only used when the lock is had again and the term is still ours.
        """
        with self._mutex, translated(self.url):
            asked_at = _now()
            connection = self._connected()
            try:
                with connection.begin():
                    self.fence(connection)
                    self._proven_at = asked_at
                    yield connection
            except DBAPIError as error:
                if error.connection_invalidated:
                    self._drop()
                raise

    def fence(self, connection: Connection) -> None:
        """Within a transaction on any connection: our term is the current one, and stays so until its end.

        Raises Deposed.
        """
        ours = select(schema.leadership.c.term).where(schema.leadership.c.term == self.term).with_for_update(read=True)
        if connection.execute(ours).first() is None:
            raise self._gone(connection)

    def leads(self) -> bool:
        """Whether it is certain enough that this coordinator leads to answer anyone."""
        return self._deposed is None and _now() - self._proven_at <= PROOF_SECONDS

    def announce(self, me: Member) -> None:
        """Tell all others where the leader answers, and learn where they do."""
        self._me, self._meet_again_at = me, 0.0
        with self.transaction() as connection:
            connection.execute(update(schema.leadership).values(api=me.api, agents=me.agents))
            self._meet(connection, me)

    def give_up(self) -> None:
        """Wait for the database no longer; from any thread."""
        self._over.set()

    def make_room(self) -> bool:
        """See ``Database``: the full disk is the server's, not ours."""
        return False

    def close(self) -> None:
        """Let go of the lock; harmless when repeated."""
        self._over.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
        with self._mutex:
            self._let_go()
            self._drop()
            self._engine.dispose()

    def _let_go(self) -> None:
        # By itself the server does so only once it has noticed that the connection is gone.
        if self._connection is not None and self.term:
            with suppress(DBAPIError), self._connection.begin():
                self._connection.execute(select(func.pg_advisory_unlock(LOCK)))

    # ------------------------------------------------------------ inside

    def _keep(self) -> None:
        """Use the connection often enough that the server lets us keep it, and notice when it did not."""
        while not self._over.wait(PING_SECONDS):
            try:
                with self.transaction() as connection:
                    if self._me is not None:
                        self._meet(connection, self._me)
            except Deposed as error:
                self._on_lost(error)
                return
            except StoreError as error:
                log.warning("database.away", reason=str(error))
                if self._over.is_set():
                    return
                if _now() - self._proven_at > RECONNECT_SECONDS:
                    self._on_lost(error)
                    return

    def _meet(self, connection: Connection, me: Member) -> None:
        """Say now and then where this coordinator answers, and learn where the others do."""
        if time.monotonic() >= self._meet_again_at:
            self._meet_again_at = time.monotonic() + REGISTER_SECONDS
            _register(connection, me)
        known = connection.execute(
            select(schema.coordinators.c.api, schema.coordinators.c.agents).order_by(schema.coordinators.c.api)
        )
        self.members = tuple(Member(*row) for row in known)

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _connected(self) -> Connection:
        if self._deposed is not None:
            raise self._deposed
        until = time.monotonic() + RECONNECT_SECONDS
        while self._connection is None:
            try:
                self._connection = self._proven_again()
            except DBAPIError:
                if time.monotonic() >= until:
                    raise
            if self._connection is None and (self._over.wait(_PAUSE) or time.monotonic() >= until):
                raise StoreError(f"the lead on database {place_of(self.url)} could not be had back; start again")
        return self._connection

    def _proven_again(self) -> Connection | None:
        """A new connection with the lock, in the same term; None while an old session of ours may still hold it."""
        connection = self._engine.connect()
        try:
            with connection.begin():
                locked = _try_lock(connection)
                self.fence(connection)
        except BaseException:
            connection.close()
            raise
        if not locked:
            connection.close()
            return None
        log.info("database.back", term=self.term)
        return connection

    def _gone(self, connection: Connection) -> Deposed:
        row = connection.execute(select(schema.leadership.c.term, schema.leadership.c.api)).first()
        who = f"another coordinator ({row.api})" if row is not None and row.api else "another coordinator"
        term = f", in term {row.term}" if row is not None else ""
        self._deposed = Deposed(
            f"{who} leads on database {place_of(self.url)}{term}, and the term of this one was {self.term};"
            " it wrote nothing since; start it again to stand by"
        )
        return self._deposed

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None


def _try_lock(connection: Connection) -> bool:
    return bool(connection.execute(select(func.pg_try_advisory_lock(LOCK))).scalar_one())


def _raise_term(connection: Connection) -> int:
    """A new term: from here on, what an older leader is about to write fails. Waits for what it is just writing."""
    row = schema.leadership
    raised = update(row).values(term=row.c.term + 1, api="", agents="").returning(row.c.term)
    term = connection.execute(raised).scalar()
    if term is None:
        connection.execute(insert(row).values(name=_NAME, term=1, api="", agents="", ca_pem=""))
        return 1
    return int(term)


def _register(connection: Connection, me: Member) -> None:
    now = float(connection.execute(select(extract("epoch", func.now()))).scalar_one())
    row = {"api": me.api, "agents": me.agents, "seen_at": now}
    table = schema.coordinators
    stored = postgresql.insert(table).values(row)
    connection.execute(stored.on_conflict_do_update(index_elements=["api"], set_=row))
    connection.execute(delete(table).where(table.c.seen_at < now - FORGET_SECONDS))


def _now() -> float:
    """Seconds that go on while the machine sleeps: a proof must not look younger than it is."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
