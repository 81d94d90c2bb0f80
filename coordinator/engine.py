"""The only writer: event -> decide -> commit -> effects and answers.

Events that arrive while a commit is under way make the next turn together (group commit). Nobody outside sees a state
that is not on disk: readers are served between two turns, agents and callers are told after the commit. When a commit
fails the state is thrown away and loaded anew; the callers get the error and nothing was promised to anyone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import structlog
from rallypoint.failpoints import reach

from coordinator import snapshots
from coordinator.core.changes import VOLATILE, DeadlineSet, HostEventNoted
from coordinator.core.decide import decide, next_deadline, settle
from coordinator.core.desired import Desired, desired_of
from coordinator.core.effects import (
    DesiredChanged,
    DistancesWanted,
    Effect,
    OutputObsolete,
    ProbesWanted,
    SessionSuperseded,
    TestWanted,
    UpgradeWanted,
)
from coordinator.core.errors import Refused
from coordinator.core.events import CoordinatorStarted, Event, Ticked
from coordinator.core.ids import AllocationId, HostId, JobId
from coordinator.core.jobs import find_job
from coordinator.core.model import Host, Instant
from coordinator.core.restore import Records, carry_over, restore
from coordinator.core.state import State, Timing
from coordinator.core.turn import Turn
from coordinator.core.upgrades import UpgradeOrder, order_for
from coordinator.earlier_leases import EarlierLeases
from coordinator.paging import NodeQuery
from coordinator.store import Loaded, Store, StoredChange, StoreError, StoreFull
from coordinator.views import FIRST_NODES, JobDetail, OverviewView

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Agents(Protocol):
    """Where the engine's orders to agents go. Every method returns at once."""

    def desired(self, host_id: HostId, allocation_id: AllocationId, desired: Desired | None) -> None:
        """What the host shall do for the allocation; None: it is gone."""
        ...

    def probe(self, host_id: HostId, targets: tuple[Host, ...]) -> None:
        """The host shall probe these others."""
        ...

    def measure(self, host_id: HostId, targets: tuple[str, ...]) -> None:
        """The host shall measure how far these are."""
        ...

    def upgrade(self, host_id: HostId, order: UpgradeOrder) -> None:
        """The host shall upgrade itself."""
        ...

    def test(self, order: TestWanted) -> None:
        """The host shall test GPUs."""
        ...

    def supersede(self, host_id: HostId, epoch: int | None) -> None:
        """Sessions with an older epoch are over; all of them when it is None."""
        ...


_STOPPING = "the coordinator is stopping; try again"


class EngineFailed(Exception):
    """The coordinator could not carry it out and changed nothing; try again."""


class EngineFull(EngineFailed):
    """The disk of the database is full: nothing was changed, and nothing can be accepted until space is there."""


@dataclass(slots=True)
class _Posted:
    event: Event
    also: Sequence[StoredChange]
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Read:
    look: Callable[[State], Any]
    answer: asyncio.Future[Any]


class Engine:
    """Owns the state. ``run`` is its task; everything else may be called from the same event loop at any time."""

    def __init__(
        self,
        store: Store,
        timing: Timing,
        agents: Agents,
        on_obsolete: Callable[[JobId], None],
        writer: ThreadPoolExecutor,
    ) -> None:
        self._store = store
        self._leases = EarlierLeases(timing)
        self._agents = agents
        self._on_obsolete = on_obsolete
        self._writer = writer
        self._state = State(timing)
        self._inbox: list[_Posted | _Read] = []
        self._wake = asyncio.Event()
        self._due: float | None = None
        # What is added to the monotonic clock to give the coordinator's own time.
        self._served_from = 0.0
        self._version = 0
        self._version_changed: list[asyncio.Future[None]] = []
        self._released = False

    # ------------------------------------------------------------ for callers

    async def post(self, event: Event, *also: StoredChange) -> Any:
        """Have an event decided and committed, together with ``also``; its answer.

        Raises errors.Refused when the core refuses it, and EngineFailed when it could not be committed.
        """
        return await self._enqueue(_Posted(event, also, asyncio.get_running_loop().create_future()))

    async def commit(self, *changes: StoredChange) -> None:
        """Make changes durable that are none of the core's business (tokens, users). Raises EngineFailed."""
        await self.post(Ticked(), *changes)

    async def read(self, look: Callable[[State], T]) -> T:
        """``look`` at the committed state, between two turns. It must not keep the state, nor change it."""
        answer: T = await self._enqueue(_Read(look, asyncio.get_running_loop().create_future()))
        return answer

    async def overview(self) -> OverviewView:
        """Hosts, networks and jobs at one moment."""
        return await self.read(snapshots.overview)

    async def job(self, ref: str, query: NodeQuery = FIRST_NODES) -> JobDetail:
        """One job by id or name, with the nodes that are asked for. Raises NotFound."""
        return await self.read(lambda state: snapshots.job_detail(state, find_job(state, ref), query))

    def release(self) -> None:
        """The coordinator stops: nobody is to wait any longer for what comes next."""
        self._released = True
        for waiter in self._version_changed:
            _fail(waiter, EngineFailed(_STOPPING))

    async def next_version(self, seen: int) -> int:
        """Wait until anything was committed after version ``seen``; the new version. Raises EngineFailed at the end."""
        while self._version <= seen:
            if self._released:
                raise EngineFailed(_STOPPING)
            waiter = asyncio.get_running_loop().create_future()
            self._version_changed.append(waiter)
            await waiter
        return self._version

    async def _enqueue(self, item: _Posted | _Read) -> Any:
        self._inbox.append(item)
        self._wake.set()
        return await item.answer

    # ------------------------------------------------------------ the loop

    async def load(self, predecessor: float = 0.0) -> Loaded:
        """Read the store and give every known host a fresh lease; what was read. Raises StoreError.

        ``predecessor``: for so many seconds from now on another coordinator may still renew leases.
        """
        loaded = await self._read_store()
        needed = self._leases.begin(loaded.counters.lease, time.monotonic() + predecessor)
        if needed is not None:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store.commit, [needed])
        self._state.timing = self._leases.timing
        # The first start ever begins with the wall clock, so that an older database's records fit in.
        self._served_from = (loaded.counters.served or time.time()) - time.monotonic()
        now = self._now()
        decide(Turn(self._state, replace(now, mono=now.mono + predecessor)), CoordinatorStarted())
        self._due = next_deadline(self._state)
        return loaded

    async def _read_store(self) -> Loaded:
        loaded = await asyncio.get_running_loop().run_in_executor(self._writer, self._store.load)
        records = Records(
            jobs=loaded.jobs,
            nodes=loaded.nodes,
            allocations=loaded.allocations,
            gangs=loaded.gangs,
            hosts=loaded.hosts,
            costs=loaded.costs,
            health=loaded.health,
            events=loaded.events,
            rollouts=loaded.rollouts,
            host_upgrades=loaded.host_upgrades,
            last_job_number=loaded.counters.jobs,
            last_host_number=loaded.counters.hosts,
            served=loaded.counters.served,
            attempt_floor=loaded.counters.attempts,
        )
        self._state = restore(records, self._leases.timing)
        return loaded

    async def run(self) -> None:
        """Take turns until cancelled; a turn that has begun is finished first."""
        try:
            while True:
                await self._wait()
                turn = asyncio.ensure_future(self._take_turn())
                try:
                    await asyncio.shield(turn)
                except asyncio.CancelledError:
                    await turn
                    raise
        finally:
            for item in self._inbox:
                _fail(item.answer, EngineFailed(_STOPPING))
            self._inbox.clear()

    async def _wait(self) -> None:
        if self._state.planning.unfinished:
            # Who called meanwhile goes along; nobody else is waited for.
            await asyncio.sleep(0)
            return
        if self._inbox:
            return
        self._wake.clear()
        timeout = None if self._due is None else max(0.0, self._due - time.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _is_due(self) -> bool:
        return self._due is not None and time.monotonic() >= self._due

    async def _take_turn(self) -> None:
        batch, self._inbox = self._inbox, []
        posted = [item for item in batch if isinstance(item, _Posted)]
        for item in batch:
            if isinstance(item, _Read):
                self._serve(item)
        if not posted and not self._is_due():
            return
        turn = Turn(self._state, self._now())
        answers: list[tuple[_Posted, Any]] = []
        refusals: list[tuple[_Posted, Refused]] = []
        try:
            self._decide(turn, posted, answers, refusals)
            await self._commit(turn, answers)
        except Exception as error:
            # A bug in a decision or a disk that failed: what is in memory may be half of something.
            await self._start_over(posted, error)
            return
        self._tell(turn.effects)
        reach("coordinator.after-tell")
        _log_events(turn)
        for item, answer in answers:
            if not item.answer.done():
                item.answer.set_result(answer)
        for item, refusal in refusals:
            # Not before the commit either: what it was refused for may be a change of this very turn.
            _fail(item.answer, refusal)
        if turn.changes:
            self._announce()

    def _decide(
        self,
        turn: Turn,
        posted: list[_Posted],
        answers: list[tuple[_Posted, Any]],
        refusals: list[tuple[_Posted, Refused]],
    ) -> None:
        for item in posted:
            try:
                answers.append((item, decide(turn, item.event)))
            except Refused as refusal:
                refusals.append((item, refusal))
        # After the calls: a host whose report waited here while a commit took long was not silent.
        if self._due is not None and turn.at.mono >= self._due:
            decide(turn, Ticked())
        settle(turn)
        earliest = [c.at for c in turn.changes if isinstance(c, DeadlineSet) and c.at is not None]
        if self._due is None or turn.at.mono >= self._due:
            self._due = next_deadline(turn.state)
        elif earliest:
            self._due = min(self._due, *earliest)

    async def _commit(self, turn: Turn, answers: list[tuple[_Posted, Any]]) -> None:
        durable: list[StoredChange] = [c for c in turn.changes if not isinstance(c, VOLATILE)]
        for item, _ in answers:
            durable.extend(item.also)
        shortened = self._leases.over(turn.at.mono)
        if shortened is not None:
            durable.append(shortened)
        if durable:
            reach("coordinator.before-commit")
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store.commit, durable)
            reach("coordinator.after-commit")
        if shortened is not None:
            self._leases.ended()
            self._state.timing = self._leases.timing

    async def _start_over(self, posted: list[_Posted], error: Exception) -> None:
        if isinstance(error, StoreError):
            log.error("engine.commit_failed", error=str(error))
            kind = EngineFull if isinstance(error, StoreFull) else EngineFailed
            failure = kind(f"nothing was changed: {error}")
        else:
            log.exception("engine.turn_failed")
            failure = EngineFailed("the coordinator failed inside and changed nothing; see its log")
        half_done = self._state
        try:
            await self._read_store()
            decide(Turn(self._state, self._now()), CoordinatorStarted())
            carry_over(half_done, self._state)
            self._due = next_deadline(self._state)
        finally:
            for item in posted:
                _fail(item.answer, failure)

    def _tell(self, effects: list[Effect]) -> None:
        told: set[AllocationId] = set()
        for effect in reversed(effects):
            if isinstance(effect, DesiredChanged) and effect.allocation_id not in told:
                # One order an allocation and turn: the state now is the last word.
                told.add(effect.allocation_id)
                order = desired_of(self._state, effect.allocation_id)
                self._agents.desired(effect.host_id, effect.allocation_id, order)
        for effect in effects:
            if isinstance(effect, ProbesWanted):
                hosts = tuple(self._state.hosts[t] for t in effect.targets if t in self._state.hosts)
                self._agents.probe(effect.host_id, hosts)
            elif isinstance(effect, DistancesWanted):
                self._agents.measure(effect.host_id, effect.targets)
            elif isinstance(effect, UpgradeWanted):
                upgrade = order_for(self._state, effect.host_id)
                if upgrade is not None:
                    self._agents.upgrade(effect.host_id, upgrade)
            elif isinstance(effect, TestWanted):
                self._agents.test(effect)
            elif isinstance(effect, SessionSuperseded):
                self._agents.supersede(effect.host_id, effect.epoch)
            elif isinstance(effect, OutputObsolete):
                self._on_obsolete(effect.job_id)

    def _serve(self, item: _Read) -> None:
        if item.answer.done():
            return
        self._state.at = self._now()
        try:
            item.answer.set_result(item.look(self._state))
        except Refused as refusal:
            item.answer.set_exception(refusal)

    def _now(self) -> Instant:
        mono = time.monotonic()
        return Instant(mono=mono, wall=time.time(), served=mono + self._served_from)

    def _announce(self) -> None:
        self._version = self._state.version
        waiters, self._version_changed = self._version_changed, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _log_events(turn: Turn) -> None:
    """What happened to hosts, for whoever reads logs; the breaker calls for someone."""
    for event in (change.event for change in turn.changes if isinstance(change, HostEventNoted)):
        tell = log.warning if event.kind in ("health", "breaker") else log.info
        tell(f"host.{event.kind}", host=event.host, id=event.host_id, text=event.text, evidence=event.evidence)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
