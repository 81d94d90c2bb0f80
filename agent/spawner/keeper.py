"""Keeps the tasks: starts, watches, stops and reaps them, and journals each end before anyone is told."""

import heapq
import os
import select
import time
from collections.abc import Callable

from rallypoint.failpoints import reach

from agent.spawner import procs, shm
from agent.spawner.book import Book
from agent.spawner.group import Group, group_of
from agent.spawner.lease import LeaseFile
from agent.spawner.memory import verdict
from agent.spawner.note import noted
from agent.spawner.nursery import Nursery
from agent.spawner.orders import after_of, environment, hold, memory_of, number, shm_of, signal_number, strings, undo_of
from agent.spawner.reaper import Ends
from agent.spawner.task import HostError, StartError, Task, spawn
from agent.spawner.trees import Trees
from agent.spawner.undo import Undo
from agent.spawner.user import user_of
from agent.spawner.watch import Watch
from agent.spawner.wire import Message, now

# While the reaper has an exit status in its hands, how long until it is asked for again.
LEARN_SECONDS = 0.02
# While the disk takes no journal, how long until it is tried again.
RETRY_SECONDS = 1.0
LOST = "exit status lost: the agent's spawner and its reaper ended before the process did"
REBOOTED = "lost: host rebooted"
LEASE_ENDED = "the host was out of contact with its coordinator for longer than its lease"
AFTER_ENDED = "the host was out of contact with its coordinator for {0:g} s, the job's on_disconnect"


class Keeper:
    """All tasks of this host; what is noted and told of them is in ``book``.

    ``over`` hears of each that is over, and whether it has ended well. ``hindered`` is for the ``Nursery``.
    """

    def __init__(
        self,
        directory: str,
        poll: select.epoll,
        use_groups: bool,
        over: Callable[[str, bool], None],
        hindered: str = "",
    ) -> None:
        self.boot = procs.boot_id()
        self.book = Book(directory)
        self.tasks: dict[str, Task] = {}
        self._null = os.open(os.devnull, os.O_RDWR)
        place = os.stat(directory)
        self._agent = f"{place.st_dev:x}-{place.st_ino:x}"
        self.nursery = Nursery(self._agent, use_groups, hindered)
        self._over = over
        self._watch = Watch(poll)
        self._undo = Undo(self.nursery, self._watch, self._at, self._stuck, self._null)
        self._trees = Trees(self._watch, self.nursery, self._at, self._finish, self._stuck, self._undo.is_pending)
        self._timers: list[tuple[float, str]] = []
        self._lease = LeaseFile(os.path.join(directory, "lease"), self.boot)
        self._ends = Ends(directory)
        for task, record in list(self.book.records.items()):
            if "at_end" not in record:
                self._pick_up(task, record)
        self.nursery.clean([task.group for task in self.tasks.values() if task.group is not None])
        if not self.tasks and self.commit():
            self._ends.clear()

    # --- orders -----------------------------------------------------------------------------------------------

    def start(self, order: Message) -> None:
        """Spawn a task; one that has a record is not started again, whatever became of it."""
        task = str(order["id"])
        if task in self.book.records:
            return
        limit = order.get("limit")
        began = now()
        reach("spawner.before-starting")
        memory = memory_of(order)
        group = self.nursery.waiting(fresh=memory is not None)
        hold(group, order)
        self.book.journal.add(
            "starting",
            task,
            boot=self.boot,
            at=time.time(),
            log=order["log"],
            signal=order["signal"],
            grace=order["grace"],
            limit_at=None if limit is None else began + number(limit),
            after=order.get("after", 0.0),
            memory=memory,
            group=None if group is None else group.paths,
            meta=order.get("meta"),
            undo=undo_of(order),
            note=order.get("note", ""),
        )
        try:
            self.book.journal.check_room()
            self.book.journal.write()
            reach("spawner.after-starting")
            pid = self._born(order, self._mark(task), str(order["log"]))
            reach("spawner.after-spawn")
        except StartError as error:
            self.book.ended(task, error.code, "start_failed", str(error), 0)
            self._over(task, False)
            return
        except HostError as error:
            self.book.refuse(task, str(error))
            self._over(task, False)
            return
        except OSError as error:
            # Unrecorded it must not run: nobody could find it again.
            self.book.journal.take_back(task)
            self.book.refuse(task, f"journal {error.filename or self.book.journal.path!r}: {error.strerror}")
            self._over(task, False)
            return
        self.nursery.born()
        self._started(task, pid, order, group, None if limit is None else began + number(limit))

    def _born(self, order: Message, mark: str, log: str, member: int | None = None) -> int:
        """Spawn what an order says, with the /dev/shm of the process ``member`` if it has its own; returns the pid.

        Raises:
            StartError, HostError: it could not be started.
        """
        env = {**environment(order["env"]), procs.MARK: mark}
        user = user_of(order)
        place = shm.around(shm_of(order), member, user)
        return spawn(strings(order["argv"]), env, str(order["cwd"]), log, self._null, user, place)

    def _mark(self, task: str) -> str:
        """By which the strayed processes of ``task`` are known, among those of all agents of this machine."""
        return f"{self._agent}/{task}"

    def _started(self, name: str, pid: int, order: Message, group: Group | None, limit_at: float | None) -> None:
        process = procs.look(pid)
        start = process.start if process else 0
        self.book.started(name, pid, start)
        task = Task(name, self._mark(name), pid, start, str(order["log"]), str(order["signal"]), number(order["grace"]))
        task.after = after_of(order)
        task.group, task.memory = group, memory_of(order)
        task.undo, task.note = undo_of(order), str(order.get("note", ""))
        if group is not None and task.memory is not None:
            # Only now: we were in the group ourselves, and are not to be what is killed.
            self.nursery.move_on()
            group.limit_memory(task.memory)
        self.tasks[name] = task
        self._watch.add_main(task)
        self._limit(task, limit_at)

    def execute(self, order: Message) -> None:
        """Spawn one more process into the tree of a running task; its end alone is told by ``exec_ended``."""
        name, key = str(order["id"]), str(order["key"])
        task = self.tasks.get(name)
        if task is None or task.main_gone or task.kill_at is not None:
            self.book.extra_ended(name, key, None, f"{name} is not running")
            return
        try:
            with self.nursery.inside(task.group):
                pid = self._born(order, task.mark, task.log, task.pid)
        except (StartError, HostError) as error:
            self.book.extra_ended(name, key, None, str(error))
            return
        task.execs[pid] = key
        self._watch.add_extra(task, pid)

    def stop(self, order: Message) -> None:
        """Signal a task's tree and set the time of its kill; a later order can only bring that time forward."""
        task = self.tasks.get(str(order["id"]))
        if task is not None:
            self._stop(task, str(order["signal"]), number(order["grace"]), str(order["cause"]), str(order["reason"]))

    def forget(self, order: Message) -> None:
        """Drop the record of a task that has ended."""
        name = str(order["id"])
        if name in self.book.records and name not in self.tasks:
            self.book.journal.add("forgotten", name)

    def lease(self, order: Message) -> None:
        """Prolong the time that work may go on without word from the coordinator."""
        until = number(order["until"])
        self._lease.prolong(until, number(order["grace"]), number(order.get("since", 0.0)))
        heapq.heappush(self._timers, (until, ""))

    # --- time ---------------------------------------------------------------------------------------------------

    def next_timer_at(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers[0][0] if self._timers else None

    def tick(self) -> None:
        """Do what is due: limits, kills, sweeps, the end of the lease."""
        at = now()
        while self._timers and self._timers[0][0] <= at:
            _, name = heapq.heappop(self._timers)
            if not name:
                self._check_lease(at)
            elif name in self.tasks:
                self._due(self.tasks[name], at)

    def _check_lease(self, at: float) -> None:
        if self._lease.until is None or at < self._lease.until:
            return
        later: float | None = None
        for task in list(self.tasks.values()):
            end = self._lease.end_for(task.after)
            if end is not None and at < end:
                later = end if later is None else min(later, end)
            elif end is not None:
                # Counted from that end, not from now: the node may be placed anew after it.
                left = max(0.0, end + self._lease.grace - at)
                reason = AFTER_ENDED.format(task.after) if end > self._lease.until else LEASE_ENDED
                self._stop(task, task.signal, min(task.grace, left), "host", reason)
        if later is not None:
            heapq.heappush(self._timers, (later, ""))

    def _due(self, task: Task, at: float) -> None:
        if task.limit_at is not None and at >= task.limit_at and task.kill_at is None and not task.main_gone:
            task.limit_at = None
            self._stop(task, task.signal, task.grace, "max_duration", "max_duration reached")
        if task.main_dead and not task.main_gone:
            self._learn_end(task)
        elif task.main_gone:
            self._trees.settle(task)
        if task.kill_at is not None and at >= task.kill_at and task.id in self.tasks:
            self._trees.kill(task, at)

    def _at(self, when: float, task: Task) -> None:
        heapq.heappush(self._timers, (when, task.id))

    def _limit(self, task: Task, limit_at: float | None) -> None:
        if limit_at is not None:
            task.limit_at = limit_at
            self._at(limit_at, task)
        if self._lease.until is not None:
            heapq.heappush(self._timers, (self._lease.until, ""))

    # --- stopping -------------------------------------------------------------------------------------------------

    def _stop(self, task: Task, name: str, grace: float, cause: str, reason: str) -> None:
        kill_at = now() + grace
        if task.kill_at is not None:
            if kill_at < task.kill_at:
                task.kill_at = kill_at
                self.book.journal.add("hurried", task.id, kill_at=kill_at)
                self._at(kill_at, task)
            return
        task.kill_at = kill_at
        if not task.main_gone:
            task.cause, task.reason = cause, reason
            self.book.stopping(task, kill_at)
        if grace > 0:
            task.signal_groups(signal_number(name))
        self._at(kill_at, task)

    # --- ends -----------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Collect all children that have ended, and finish the tasks whose trees are gone."""
        for task, pid, code in self._watch.reap(self.book.main_ended):
            if pid == task.pid:
                self._trees.main_ended(task, code)
            elif self._undo.has_ended(pid, code) is not None:
                self._trees.settle(task)
            else:
                self._exec_ended(task, pid, code)
        self._trees.settle_all()

    def readable(self, fd: int) -> None:
        """An adopted process has ended, if ``fd`` is of one."""
        task = self._watch.ended(fd)
        if task is not None:
            task.main_dead = True
            self._learn_end(task)

    def _learn_end(self, task: Task) -> None:
        """How an adopted task ended, as the reaper saw it; asked again as long as that is only about to."""
        code = self._ends.code_of(task.pid, task.start)
        if code is None and self._watch.is_reapers(task):
            self._at(now() + LEARN_SECONDS, task)
            return
        if code is not None:
            self.book.main_ended(task, code)
        elif task.cause == "exit":
            task.cause, task.reason = "host", LOST
        self._trees.main_ended(task, code)
        self._trees.settle(task)

    def _exec_ended(self, task: Task, pid: int, code: int) -> None:
        key = task.execs[pid]
        if not task.group_lives():
            del task.execs[pid]
        self.book.extra_ended(task.id, key, code)

    def _stuck(self, task: Task, reason: str) -> None:
        """Not even KILL ends it: say so, and hold on to what it holds."""
        if task.stuck != reason:
            task.stuck = reason
            self.book.stuck(task)

    def _finish(self, task: Task) -> None:
        del self.tasks[task.id]
        self._watch.drop_extras(task)
        if task.cause == "exit" and task.code:
            reason = verdict(task.group, task.memory, task.pid, task.start, task.code)
            if reason:
                task.cause, task.reason = "out_of_memory", reason
            elif task.note:
                task.cause, task.reason = noted(task.note) or (task.cause, task.reason)
        if task.stuck:
            task.reason = f"{task.reason}; " * bool(task.reason) + f"it took longer to end: {task.stuck}"
        if task.group is not None:
            self.nursery.remove(task.group, reuse=task.memory is None and not task.adopted)
        self.book.ended(task.id, task.code, task.cause, task.reason, task.log_bytes())
        self._over(task.id, task.cause == "exit" and task.code == 0)

    def ended_well(self, name: str) -> bool:
        """Whether a task that does not live has ended well; of one without a record nobody asks any more."""
        record = self.book.records.get(name)
        return record is None or (record.get("cause") == "exit" and record.get("code") == 0)

    def commit(self) -> bool:
        """Bring the journal to where it must be before the news are told.

        Returns whether that succeeded; if not, it is tried again in a second.
        """
        try:
            self.book.commit()
        except OSError:
            heapq.heappush(self._timers, (now() + RETRY_SECONDS, ""))
            return False
        return True

    # --- after a crash --------------------------------------------------------------------------------------------

    def _pick_up(self, name: str, record: Message) -> None:
        """A task that an earlier spawner started: watch it if it lives, else say that its exit code is lost."""
        if record.get("boot") != self.boot:
            self.book.ended(name, None, "host", REBOOTED, _size(record))
            return
        pid, start = int(number(record.get("pid", 0))), int(number(record.get("start", 0)))
        mark, log = self._mark(name), str(record["log"])
        task = Task(name, mark, pid, start, log, str(record["signal"]), number(record["grace"]))
        task.adopted = True
        task.after = after_of(record)
        task.group, task.memory = group_of(record.get("group")), memory_of(record)
        task.undo, task.note = undo_of(record), str(record.get("note", ""))
        task.cause, task.reason = str(record.get("cause", "exit")), str(record.get("reason", ""))
        task.stuck = str(record.get("stuck", ""))
        self.tasks[name] = task
        if "code" in record:
            self._trees.main_ended(task, int(number(record["code"])))
            self._trees.settle(task)
            return
        process = procs.look(pid) if pid else None
        if process is None or not process.alive or process.start != start:
            task.main_dead = True
            self._learn_end(task)
            return
        self._watch.adopt(task)
        limit_at = record.get("limit_at")
        self._limit(task, None if limit_at is None else number(limit_at))
        if "cause" in record:
            # It was being stopped, and is to be gone when it was to be gone: that time may be its lease's.
            left = max(0.0, number(record["kill_at"]) - now()) if "kill_at" in record else task.grace
            self._stop(task, task.signal, left, task.cause, task.reason)


def _size(record: Message) -> int:
    try:
        return os.stat(str(record["log"])).st_size
    except OSError:
        return 0
