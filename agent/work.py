"""The work of this host: carries out what `core.reconcile` decides and keeps what is observed."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import structlog

from agent.checks import Checks, Ended
from agent.core import reconcile as rules
from agent.core.model import AllocationId, Cause, Desired, DesiredUpdate, Observed, Phase, Probe
from agent.extras import Extras
from agent.fence import Fence
from agent.measuring import Measuring
from agent.observing import from_news, from_snapshot
from agent.places import UnsafeId
from agent.preparing import Preparing, is_slow, said
from agent.readiness import Readiness
from agent.spawner.wire import now as boot_clock
from agent.users import UserRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from agent.archive import ArchiveCache
    from agent.core.model import Measured, Member
    from agent.nodes import NodeMaker
    from agent.places import Places
    from agent.ports import PortKeeper
    from agent.spawner.wire import Message
    from agent.users import Account

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What work is done with. ``probe`` tries to reach the members of a gang; ``send`` gives the spawner an order,
    ``measure`` carries out what a prepared member is to measure.

    ``now`` is the clock that the spawner shares, ``wall`` the one that people see (Unix seconds). ``surround`` makes
    what a node runs in, where that is more than the host, ``strip`` removes it.
    """

    places: Places
    nodes: NodeMaker
    ports: PortKeeper
    archives: ArchiveCache
    send: Callable[[Message], None]
    probe: Callable[[Sequence[Member]], asyncio.Future[list[Probe]] | asyncio.Task[list[Probe]]]
    measure: Callable[[Desired], Awaitable[Measured]]
    now: Callable[[], float] = boot_clock
    wall: Callable[[], float] = time.time
    surround: Callable[[Desired, Account | None, Callable[[str], None]], Awaitable[None]] | None = None
    strip: Callable[[AllocationId], None] | None = None


class Work:
    """Desired and observed allocations.

    ``on_change`` is called whenever there is something to report, with whether it is urgent.
    """

    def __init__(self, tools: Tools, on_change: Callable[[bool], None]) -> None:
        self.desired: dict[AllocationId, Desired] = {}
        self.observed: dict[AllocationId, Observed] = {}
        self._informed = False
        self._tools = tools
        self._on_change = on_change
        # In the order of the news: a bounded report leaves no old one behind.
        self._unreported: dict[AllocationId, None] = {}
        self._preparing = Preparing(tools, self._making_ready, self._prepared, self._fail)
        # What begins behind another one, by that one; and what the spawner has yet to start.
        self._next: dict[AllocationId, AllocationId] = {}
        self._starting: set[AllocationId] = set()
        self.queues = False
        self._changed = asyncio.Event()
        self._fence = Fence(tools.send, tools.now, self._lease_ended)
        self._extras = Extras(tools.send, tools.nodes.order_extra)
        self._readiness = Readiness(self._announced)
        self._measuring = Measuring(tools.measure, self._found)
        self._checks = Checks(tools.send, tools.places)

    # --- what comes in ----------------------------------------------------------------------------------------

    def want(self, update: DesiredUpdate) -> None:
        """Take in what the coordinator wants and act on it."""
        touched: dict[AllocationId, None] = {}
        if update.complete:
            touched.update(dict.fromkeys(self.desired))
            touched.update(dict.fromkeys(self.observed))
            self._informed = True
            self.desired.clear()
            self._next.clear()
        for desired in update.allocations:
            self.desired[desired.id] = desired
            touched[desired.id] = None
            if desired.behind is not None:
                self._next[desired.behind] = desired.id
        for key in update.removed:
            self.desired.pop(key, None)
            touched[key] = None
        touched.update((self._next[key], None) for key in tuple(touched) if key in self._next)
        for key in update.removed:
            if key not in self.observed:
                self._next.pop(key, None)
        self._reconcile(touched)

    def hear(self, news: list[Message]) -> None:
        """Take in what the spawner says."""
        touched: list[AllocationId] = []
        for message in news:
            if message["ev"] == "snapshot":
                touched += self._take_snapshot(message)
            elif message["ev"] == "exec_ended":
                self._extras.ended(message)
            else:
                touched += self._take_news(message)
        self._reconcile(touched)

    def begin(self, sent_at: float, seconds: float, grace: float) -> None:
        """A session was opened by a call sent at ``sent_at`` (clock of the spawner's ``now``), and with it a lease.

        What an older session wanted counts no more: it may be placed elsewhere by now.
        """
        self._informed = False
        self._fence.renew(sent_at, seconds, grace)

    def renew(self, sent_at: float, seconds: float, grace: float) -> bool:
        """A report sent at ``sent_at`` was answered. False: too late, only a new session begins another lease."""
        if self._fence.over():
            return False
        self._fence.renew(sent_at, seconds, grace)
        return True

    # --- what goes out ----------------------------------------------------------------------------------------

    def unreported(self, limit: int) -> list[Observed]:
        """Up to ``limit`` observations that the coordinator does not have."""
        keys = list(itertools.islice(self._unreported, limit))
        return [self.observed[key] for key in keys if key in self.observed]

    def urgent(self) -> bool:
        """Whether something waits for the report: room for more work, or a group for its members.

        A start does not, nor an end while the spawner still has nodes to start.
        """
        patient = (Phase.RUNNING, Phase.ENDED) if self._starting else (Phase.RUNNING,)
        told = (self.observed[key] for key in self._unreported if key in self.observed)
        return any(seen.phase not in patient or seen.ready for seen in told)

    def everything(self) -> list[Observed]:
        """All observations, for the first report of a session."""
        return list(self.observed.values())

    def acknowledge(self, reported: Iterable[Observed]) -> None:
        """The coordinator has these observations; what has changed since stays to be reported."""
        touched = []
        for seen in reported:
            current = self.observed.get(seen.id)
            if current is None or replace(current, log_done=seen.log_done) == seen:
                self._unreported.pop(seen.id, None)
                if current is not None and not current.acknowledged:
                    self.observed[seen.id] = replace(current, acknowledged=True)
                    touched.append(seen.id)
        self._reconcile(touched)

    def log_done(self, key: AllocationId) -> None:
        """The coordinator has all output of ``key``, or wants none."""
        current = self.observed.get(key)
        if current is not None and not current.log_done:
            self.observed[key] = replace(current, log_done=True)
            self._reconcile([key])

    # --- extra processes ----------------------------------------------------------------------------------------

    async def launch(self, desired: Desired, command: str) -> tuple[int | None, str]:
        """Run a shell command beside a running node, in its environment: exit code, or ``None`` and the reason."""
        return await self._extras.run(desired, command)

    async def check(self, desired: Desired, order: Message) -> Ended:
        """Run a program in a prepared node's place, with the port that is held for it; then another one is held."""
        self._tools.ports.release(desired.id)
        try:
            return await self._checks.run(order)
        finally:
            self._hold_again(desired.id)

    def _hold_again(self, key: AllocationId) -> None:
        seen = self.observed.get(key)
        if seen is None or seen.phase is not Phase.PREPARED:
            return
        try:
            self._observe(replace(seen, master_port=self._tools.ports.hold(key)))
        except OSError as error:
            self._fail(key, Cause.HOST, f"it could not be prepared: {said(error)}")

    async def until(self, found: Callable[[], T], seconds: float) -> T:
        """What ``found`` gives as soon as that is something; what it gives after ``seconds``, if it never was."""
        try:
            async with asyncio.timeout(seconds):
                while not (seen := found()):
                    self._changed.clear()
                    await self._changed.wait()
                return seen
        except TimeoutError:
            return found()

    def holds(self, key: AllocationId) -> bool:
        """Whether anything of it is here, or about to be."""
        have = self.observed.get(key)
        return have is not None and have.phase is not Phase.ENDED

    def is_running(self, key: AllocationId) -> bool:
        """Whether its main process runs and is not being stopped."""
        have = self.observed.get(key)
        return have is not None and have.phase is Phase.RUNNING

    # --- carrying out -------------------------------------------------------------------------------------------

    def _reconcile(self, keys: Iterable[AllocationId]) -> None:
        pending = touched = list(keys)
        wanted = self.desired if self._informed else None
        while pending:
            actions = rules.reconcile(pending, wanted, self.observed, self._fence.lease, self._tools.now())
            # An action that is done at once may make the next one due: `any` is prepared and started in one go, and
            # then what begins behind it.
            pending = [key for action in actions if (key := self._carry_out(action)) is not None]
        self._changed.set()
        self._await_announcements(touched)
        self._follow_measurements(touched)
        if self._unreported:
            self._on_change(self.urgent())

    def _await_announcements(self, keys: Iterable[AllocationId]) -> None:
        """Look for the announcements of those that others of their group wait for, as long as they run."""
        for key in keys:
            desired = self.desired.get(key)
            if desired is None or not desired.spec.announces or not self.is_running(key):
                self._readiness.drop(key)
            elif not self.observed[key].ready:
                self._readiness.look_for(key, self._tools.places.ready_file_of(key))

    def _follow_measurements(self, keys: Iterable[AllocationId]) -> None:
        """Measure what is wanted of those that are prepared, and nothing any more where that is over."""
        for key in keys:
            desired, seen = self.desired.get(key), self.observed.get(key)
            order = desired.measures if desired is not None else None
            prepared = seen is not None and seen.phase is Phase.PREPARED
            if order is None or not prepared or (order.peer is not None and not order.calls):
                self._measuring.follow(key, None)
            elif seen is None or seen.measured is None or seen.measured.number != order.number:
                self._measuring.follow(key, desired)

    def _found(self, key: AllocationId, outcome: Measured) -> None:
        seen = self.observed.get(key)
        if seen is not None and seen.phase is Phase.PREPARED:
            log.info("preflight.measured", allocation=key, number=outcome.number, problem=outcome.problem)
            self._observe(replace(seen, measured=outcome))
            self._on_change(True)

    def _announced(self, key: AllocationId) -> None:
        if self.is_running(key):
            log.info("allocation.ready", allocation=key)
            self._observe(replace(self.observed[key], ready=True))
            self._on_change(True)

    def _lease_ended(self) -> float | None:
        """Stop what must not outlast the contact; when there will be more of that."""
        self._reconcile(list(self.observed))
        lease = self._fence.lease
        return None if lease is None else rules.next_end(self.observed.values(), lease, self._tools.now())

    def _carry_out(self, action: rules.Action) -> AllocationId | None:
        match action:
            case rules.Prepare(desired):
                return self._prepare(desired)
            case rules.Start(desired):
                return self._start(desired)
            case rules.Stop(key, signal, grace, cause, reason):
                self._stop(key, signal, grace, cause, reason)
            case rules.End(key, cause, reason):
                self._end(key, cause, reason)
                return self._next.get(key)
            case rules.Forget(key):
                self._forget(key)
        return None

    def _prepare(self, desired: Desired) -> AllocationId | None:
        self._observe(Observed(desired.id, Phase.PREPARING), news=False)
        try:
            owner = self._tools.nodes.owner(desired)
            self._tools.nodes.check_open(owner)
            # What unpacks files there has all rights: nobody else gets in before it is done.
            self._tools.places.make_work(desired.id, owner, closed=bool(desired.spec.archive))
        except UserRefused as refusal:
            self._end(desired.id, Cause.START_FAILED, str(refusal))
            return None
        except (OSError, UnsafeId) as error:
            self._end(desired.id, Cause.HOST, f"its working directory could not be made: {said(error)}")
            return None
        if not is_slow(desired):
            self._observe(Observed(desired.id, Phase.PREPARED), news=False)
            return desired.id
        self._preparing.begin(desired, owner)
        return None

    def _making_ready(self, key: AllocationId, what: str) -> None:
        """Users see what is done, and the group waits for it."""
        seen = self.observed.get(key)
        if seen is not None and seen.phase is Phase.PREPARING:
            self._observe(replace(seen, reason=what))
            self._on_change(False)

    def _prepared(self, key: AllocationId, master_port: int, probes: tuple[Probe, ...]) -> None:
        seen = self.observed.get(key)
        if seen is not None and seen.phase is Phase.PREPARING:
            self._observe(Observed(key, Phase.PREPARED, master_port=master_port, probes=probes))
            self._reconcile([key])

    def _fail(self, key: AllocationId, cause: Cause, reason: str) -> None:
        """End what was being prepared, and say so at once: nothing else is under way that would."""
        self._end(key, cause, reason)
        self._reconcile([key])

    def _start(self, desired: Desired) -> AllocationId | None:
        try:
            order = self._tools.nodes.order(desired)
        except UserRefused as refusal:
            self._end(desired.id, Cause.START_FAILED, str(refusal))
            return None
        except (OSError, ValueError) as error:
            self._end(desired.id, Cause.HOST, f"its files could not be laid ready: {said(error)}")
            return None
        self._tools.ports.release(desired.id)
        starting = replace(self.observed[desired.id], phase=Phase.STARTING, after=desired.spec.after, measured=None)
        self._observe(starting, news=False)
        self._tools.send(order)
        return self._next.get(desired.id)

    def _stop(self, key: AllocationId, signal: str, grace: float, cause: Cause, reason: str) -> None:
        log.info("allocation.stopping", allocation=key, signal=signal, grace=grace, reason=reason)
        name = "host" if cause is Cause.HOST else "stopped"
        self._tools.send({"op": "stop", "id": key, "signal": signal, "grace": grace, "cause": name, "reason": reason})
        self._observe(replace(self.observed[key], phase=Phase.STOPPING, stop_grace=grace))

    def _end(self, key: AllocationId, cause: Cause, reason: str) -> None:
        log.info("allocation.ended", allocation=key, cause=cause.name, reason=reason)
        self._preparing.drop(key)
        self._tools.ports.release(key)
        ended = Observed(key, Phase.ENDED, cause=cause, reason=reason, ended_at=self._tools.now(), log_done=True)
        self._observe(ended)
        self._tidy(key, log=True)

    def _forget(self, key: AllocationId) -> None:
        seen = self.observed.pop(key)
        self._next.pop(key, None)
        self._unreported.pop(key, None)
        self._tools.send({"op": "forget", "id": key})
        if seen.log_bytes:
            self._tools.places.drop_log(key)

    def _observe(self, seen: Observed, news: bool = True) -> None:
        self.observed[seen.id] = replace(seen, acknowledged=False) if seen.acknowledged else seen
        if seen.phase is Phase.STARTING:
            self._starting.add(seen.id)
        else:
            self._starting.discard(seen.id)
        if news:
            self._unreported[seen.id] = None

    def _tidy(self, key: AllocationId, log: bool) -> None:
        try:
            self._tools.places.drop_work(key)
            if self._tools.strip is not None:
                self._tools.strip(key)
            if log:
                self._tools.places.drop_log(key)
        except UnsafeId:
            return

    # --- the spawner's news -------------------------------------------------------------------------------------

    def _take_news(self, message: Message) -> list[AllocationId]:
        key = AllocationId(str(message["id"]))
        if key in self._checks:
            self._checks.heard(message)
            return []
        seen = from_news(self.observed.get(key), message, self._steady)
        if seen is None:
            return []
        self._observe(seen)
        if seen.phase is Phase.ENDED:
            self._ended(seen)
        elif message["ev"] == "stuck":
            log.warning("allocation.stuck", allocation=key, reason=seen.reason, hint="what it holds stays held")
        return [key]

    def _steady(self, at: float) -> float:
        """The moment of ``at`` on the clock of ``now``. The two clocks are compared here alone, as the news comes:
        what jumps afterwards moves nothing."""
        return max(0.001, self._tools.now() - max(0.0, self._tools.wall() - at)) if at else 0.0

    def _ended(self, seen: Observed) -> None:
        log.debug(
            "allocation.exited", allocation=seen.id, code=seen.exit_code, cause=seen.cause.name, reason=seen.reason
        )
        self._tidy(seen.id, log=seen.log_bytes == 0)
        if seen.log_bytes == 0:
            self.observed[seen.id] = replace(self.observed[seen.id], log_done=True)

    def _take_snapshot(self, message: Message) -> list[AllocationId]:
        """What the spawner has is the truth about processes; what it never got will be ordered again."""
        recorded = from_snapshot(message, self._steady)
        self.queues = message.get("queues") is True
        self._tools.nodes.spawner_can_change_users(message.get("users") is True)
        self._fence.repeat()
        self._extras.lost()
        self._checks.lost()
        for key, current in list(self.observed.items()):
            if current.phase is Phase.STARTING and key not in recorded:
                self._observe(replace(current, phase=Phase.PREPARED), news=False)
            elif current.phase in (Phase.RUNNING, Phase.STOPPING) and key not in recorded:
                self._end(key, Cause.HOST, rules.NO_RECORD)
        for seen in recorded.values():
            known = self.observed.get(seen.id)
            if known is None or known.phase is not Phase.ENDED:
                self._observe(seen)
                if seen.phase is Phase.ENDED:
                    self._ended(seen)
        return list(self.observed)

    # --- the end ------------------------------------------------------------------------------------------------

    def stop_everything(self, reason: str, grace: float = 10.0) -> None:
        """This host is not to work any more: forget what is wanted, stop what runs within ``grace`` seconds."""
        self.desired.clear()
        for key, seen in list(self.observed.items()):
            if seen.phase in (Phase.RUNNING, Phase.STARTING):
                self._stop(key, rules.DEFAULT_SIGNAL, grace, Cause.HOST, reason)

    def is_informed(self) -> bool:
        """Whether the coordinator has said what is wanted here."""
        return self._informed

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing runs any more, at most ``seconds``."""
        await self.until(self.is_idle, seconds)

    def is_idle(self) -> bool:
        """Whether nothing runs here."""
        live = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
        return not any(seen.phase in live for seen in self.observed.values())

    async def until_empty(self, seconds: float) -> bool:
        """Wait until nothing is wanted here and all that was is known, at most ``seconds``; whether it is so."""
        return await self.until(lambda: not self.desired and not self.observed, seconds)

    async def close(self) -> None:
        """Stop preparing; what runs goes on without this process."""
        self._fence.close()
        await self._readiness.close()
        await self._measuring.close()
        await self._preparing.close()

    def working_names(self) -> set[str]:
        """Working directories that must stay."""
        return {os.path.basename(self._tools.places.work_of(key)) for key in self.observed}
