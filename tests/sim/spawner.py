"""The spawner of a history: the rules of `agent.spawner.keeper` without an operating system, and its journal's disk.

It outlives the daemon. Its journal's lines survive its own death once written and the host's once synced; a process
whose spawner died is watched by the next one, which learns its exit code if the reaper above them lived on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.spawner import journal as production
from agent.spawner.__main__ import GATHER_SECONDS
from agent.spawner.keeper import AFTER_ENDED, LEASE_ENDED, LOST, REBOOTED
from agent.spawner.waiting import NOT_WELL, Waiting
from tests.sim.clock import Process

if TYPE_CHECKING:
    from agent.spawner.wire import Message
    from tests.sim.agent import Agent
    from tests.sim.host import Host, Program

# Sums of times differ in their last digits.
ROUNDING = 1e-6


class Journal:
    """The lines of the spawner's journal, as they would be on the disk."""

    def __init__(self) -> None:
        self.written: list[Message] = []
        self.synced = 0

    def records(self) -> dict[str, Message]:
        """What opening it anew would find."""
        records: dict[str, Message] = {}
        for line in self.written:
            production._apply(records, dict(line))
        return records

    def open(self) -> dict[str, Message]:
        """Open it as a new spawner does: what was forgotten is dropped, the rest is written anew and synced."""
        records = self.records()
        self.written = [{"kind": "whole", "id": key, **record} for key, record in records.items()]
        self.synced = len(self.written)
        return records

    def crash(self, kept: int) -> None:
        """The machine dies: what was not synced is gone but for its first ``kept`` lines."""
        del self.written[self.synced + kept :]
        self.synced = len(self.written)


@dataclass(slots=True, eq=False)
class Running:
    """A real process on a host."""

    id: str
    host: Host
    desired: Any
    program: Program
    started_at: float
    alive: bool = True
    # The one that learns how it ends, as long as it lives.
    reaper: int = 0
    code: int | None = None


@dataclass(slots=True, eq=False)
class Task:
    """What the spawner knows of a process."""

    id: str
    process: Running | None
    signal: str
    grace: float
    adopted: bool = False
    cause: str = "exit"
    reason: str = ""
    kill_at: float | None = None
    limit_at: float | None = None
    after: float | None = 0.0


@dataclass(slots=True)
class LeaseFile:
    """The lease that a spawner leaves to the next one."""

    boot: int = -1
    until: float = 0.0
    grace: float = 0.0
    since: float = 0.0


class Spawner:
    """One life of a spawner's process. Times are the host's own, since its boot."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.process = Process(f"{host.name} spawner", rate=host.rate)
        self.daemon: Agent | None = None
        self.tasks: dict[str, Task] = {}
        self.records = host.journal.open()
        self._unwritten: list[Message] = []
        self._news: list[Message] = []
        self._refusals: list[Message] = []
        self._must_sync = False
        self._committing = False
        self._waiting = Waiting()
        saved = host.lease_file
        self.lease_until: float | None = saved.until if saved.boot == host.boots else None
        self.lease_grace = saved.grace
        self.lease_since = saved.since
        for task, record in list(self.records.items()):
            if "at_end" not in record:
                self._pick_up(task, record)
        self._soon()

    def accept(self, daemon: Agent) -> None:
        """A daemon connects: it is told everything."""
        self.daemon = daemon
        self._commit()
        self._news.clear()
        records = {task: dict(record) for task, record in self.records.items()}
        self._push([{"ev": "snapshot", "records": records, "boot": self.host.boots, "queues": True}])

    def daemon_died(self) -> None:
        """Who gave the orders that wait will not hear of them; another one gives them anew."""
        self.daemon = None
        self._waiting.clear()

    def obey(self, orders: list[Message]) -> None:
        """Carry out what the daemon orders."""
        for order in orders:
            getattr(self, f"_{order['op']}")(order)
        self._soon()

    # --- orders -------------------------------------------------------------------------------------------------

    def _spawn(self, order: Message) -> None:
        before = str(order.get("behind") or "")
        if before in self.tasks or self._waiting.has(before):
            within: Any = order["within"]
            self._waiting.put_behind(order, before, self.host.now() + within)
            self._at(self.host.now() + within, self._give_back_late)
        elif not before or self._ended_well(before):
            self._start(order)
        else:
            self._waiting.returned.append((str(order["id"]), NOT_WELL))

    def _ended_well(self, key: str) -> bool:
        record = self.records.get(key)
        return record is None or (record.get("cause") == "exit" and record.get("code") == 0)

    def _give_back_late(self) -> None:
        self._waiting.give_back_late(self.host.now() + ROUNDING)
        self._soon()

    def _start(self, order: Message) -> None:
        key = str(order["id"])
        if key in self.records:
            return
        limit: Any = order["limit"]
        limit_at = None if limit is None else self.host.now() + limit
        grace: Any = order["grace"]
        after: Any = order["after"]
        self._add("starting", key, boot=self.host.boots, signal="TERM", grace=grace, limit_at=limit_at, after=after)
        self._write()
        process = self.host.start(key, order["desired"])
        self._add("started", key, pid=1, at=self.host.wall())
        task = self.tasks[key] = Task(key, process, str(order["signal"]), grace, limit_at=limit_at, after=after)
        self._watch(task)
        self._news.append({"ev": "started", "id": key, "pid": 1, "at": self.host.wall()})

    def _stop(self, order: Message) -> None:
        key = str(order["id"])
        if self._waiting.drop(key):
            end = {"code": None, "cause": str(order["cause"]), "reason": str(order["reason"]), "log_bytes": 0}
            self._refusals.append({"ev": "exited", "id": key, "at": self.host.wall(), **end})
        task = self.tasks.get(key)
        if task is not None:
            grace: Any = order["grace"]
            self._end_task(task, grace, str(order["cause"]), str(order["reason"]))

    def _forget(self, order: Message) -> None:
        key = str(order["id"])
        if key in self.records and key not in self.tasks:
            self._add("forgotten", key)

    def _lease(self, order: Message) -> None:
        until: Any = order["until"]
        grace: Any = order["grace"]
        since: Any = order["since"]
        self.lease_until, self.lease_grace, self.lease_since = until, grace, since
        self._at(until, self._check_lease)
        saved = self.host.lease_file
        if saved.boot != self.host.boots or until - saved.until >= 1.0:
            self.host.lease_file = LeaseFile(self.host.boots, until, grace, since)

    # --- time ---------------------------------------------------------------------------------------------------

    def _at(self, when: float, call: Any, *args: Any) -> None:
        self.host.world.clock.after(max(0.0, when - self.host.now()), self.process, call, *args)

    def _watch(self, task: Task) -> None:
        if task.limit_at is not None:
            self._at(task.limit_at, self._limit, task)
        if self.lease_until is not None:
            self._at(self.lease_until, self._check_lease)

    def _check_lease(self) -> None:
        if self.lease_until is None or self.host.now() < self.lease_until - ROUNDING:
            return
        for task in list(self.tasks.values()):
            if task.after is None:
                continue
            end = max(self.lease_until, self.lease_since + task.after)
            if self.host.now() < end - ROUNDING:
                self._at(end, self._check_lease)
                continue
            left = max(0.0, end + self.lease_grace - self.host.now())
            reason = AFTER_ENDED.format(task.after) if end > self.lease_until else LEASE_ENDED
            self._end_task(task, min(task.grace, left), "host", reason)
        self._soon()

    def _limit(self, task: Task) -> None:
        if task.id in self.tasks and task.kill_at is None:
            self._end_task(task, task.grace, "max_duration", "max_duration reached")
            self._soon()

    def _end_task(self, task: Task, grace: float, cause: str, reason: str) -> None:
        kill_at = self.host.now() + grace
        if task.kill_at is not None:
            if kill_at < task.kill_at:
                task.kill_at = kill_at
                self._add("hurried", task.id, kill_at=kill_at)
                self._at(kill_at, self._kill, task)
            return
        task.kill_at = kill_at
        task.cause, task.reason = cause, reason
        self._add("stopping", task.id, cause=cause, reason=reason, kill_at=kill_at)
        self._news.append({"ev": "stopping", "id": task.id})
        if grace > 0 and task.process is not None:
            self.host.terminate(task.process)
        self._at(kill_at, self._kill, task)

    def _kill(self, task: Task) -> None:
        if task.id in self.tasks and task.kill_at is not None and self.host.now() >= task.kill_at - ROUNDING:
            assert task.process is not None
            self.host.kill(task.process)

    # --- ends ---------------------------------------------------------------------------------------------------

    def reap(self, process: Running) -> None:
        """A process has ended."""
        task = self.tasks.pop(process.id, None)
        if task is None:
            return
        self._learn_end(task, process)
        self._soon()

    def _learn_end(self, task: Task, process: Running | None) -> None:
        code = None if process is None else process.code
        if code is None and task.cause == "exit":
            task.cause, task.reason = "host", LOST
        self._record_end(task.id, code, task.cause, task.reason)

    def _record_end(self, key: str, code: int | None, cause: str, reason: str) -> None:
        end = {"code": code, "cause": cause, "reason": reason, "log_bytes": self.host.log_bytes(key)}
        at = self.host.wall()
        self._add("exited", key, at_end=at, **end)
        self._must_sync = True
        self._news.append({"ev": "exited", "id": key, "at": at, **end})
        self._waiting.over(key, cause == "exit" and code == 0)
        for order in self._waiting.take(1):
            self._start(order)

    def _pick_up(self, key: str, record: Message) -> None:
        if record.get("boot") != self.host.boots:
            self._record_end(key, None, "host", REBOOTED)
            return
        process = self.host.processes.get(key)
        grace: Any = record["grace"]
        after: Any = record["after"]
        task = Task(key, process, str(record["signal"]), grace, adopted=True, after=after)
        task.cause, task.reason = str(record.get("cause", "exit")), str(record.get("reason", ""))
        if process is None or not process.alive:
            self._learn_end(task, process)
            return
        self.tasks[key] = task
        if "pid" not in record:
            # Died between the spawn and noting its pid: found by its mark, and swept.
            self.host.kill(process)
            return
        limit_at: Any = record.get("limit_at")
        task.limit_at = limit_at
        self._watch(task)
        if "cause" in record:
            kill_at: Any = record["kill_at"]
            self._end_task(task, max(0.0, kill_at - self.host.now()), task.cause, task.reason)

    # --- the journal --------------------------------------------------------------------------------------------

    def _add(self, kind: str, key: str, **fields: object) -> None:
        line: Message = {"kind": kind, "id": key, **fields}
        production._apply(self.records, dict(line))
        self._unwritten.append(line)

    def _write(self) -> None:
        self.host.journal.written += self._unwritten
        self._unwritten.clear()

    def _soon(self) -> None:
        # What happens until then is committed and told together, or lost together.
        if not self._committing:
            self._committing = True
            self.host.world.clock.after(GATHER_SECONDS if self._waiting else 0.001, self.process, self._commit)

    def _commit(self) -> None:
        self._committing = False
        self._write()
        if self._must_sync:
            self._must_sync = False
            self.host.journal.synced = len(self.host.journal.written)
            for told in self._news:
                if told["ev"] == "exited":
                    self.host.world.ledger.recorded(self.host, told)
        for key, reason in self._waiting.returned:
            self._refusals.append({"ev": "returned", "id": key, "at": self.host.wall(), "reason": reason})
        self._waiting.returned.clear()
        news, self._news, self._refusals = [*self._refusals, *self._news], [], []
        if news:
            self._push(news)

    def _push(self, messages: list[Message]) -> None:
        if self.daemon is not None:
            self.host.world.clock.after(0.0005, self.daemon.process, self.daemon.hear, self, messages)
