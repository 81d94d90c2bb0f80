"""Ends what is left of tasks: a task is over when its main process and everything that came of it are gone."""

import signal
from collections.abc import Callable

from agent.spawner.procs import Process
from agent.spawner.task import Task, kill_all, signal_all
from agent.spawner.watch import Watch
from agent.spawner.wire import now

# What is left of a tree when its main process has ended gets TERM, and KILL after this.
LEFTOVER_GRACE = 2.0
# After KILL, how often to look whether it is gone, and when to give up on it.
SWEEP_SECONDS = 0.05
STUCK_SECONDS = 10.0


class Trees:
    """All tasks' trees. ``at`` has a task looked at again at a time, ``finish`` is told of one that is gone."""

    def __init__(self, watch: Watch, at: Callable[[float, Task], None], finish: Callable[[Task], None]) -> None:
        self._watch = watch
        self._at = at
        self._finish = finish
        self._ending: dict[str, Task] = {}

    def main_ended(self, task: Task, code: int | None) -> None:
        """Its main process is gone: what is left of it is to follow."""
        task.code = code
        task.main_gone = True
        self._ending[task.id] = task

    def settle_all(self) -> None:
        """Children were reaped: finish the tasks whose trees are gone."""
        if self._ending:
            orphans = self._watch.orphans()
            for task in list(self._ending.values()):
                self._settle(task, orphans)

    def settle(self, task: Task) -> None:
        """The main process has ended: end what is left of its tree, and report when nothing is."""
        self._settle(task, self._watch.orphans())

    def _settle(self, task: Task, orphans: set[int]) -> None:
        if not task.adopted and not orphans and not task.group_lives():
            self._over(task)
            return
        members = task.tree()
        if not members and (task.adopted or not task.group_lives()):
            self._over(task)
            return
        if not task.swept:
            task.swept = True
            signal_all(members, signal.SIGTERM)
            soon = now() + LEFTOVER_GRACE
            task.kill_at = soon if task.kill_at is None else min(task.kill_at, soon)
            self._at(task.kill_at, task)
        if task.adopted:
            # Not our children: no signal tells of their end.
            self._at(now() + SWEEP_SECONDS, task)

    def kill(self, task: Task, at: float) -> None:
        """Kill the whole tree, and look again until it is gone."""
        if task.stuck_at is None:
            task.stuck_at = at + STUCK_SECONDS
        task.signal_groups(signal.SIGKILL)
        members = task.tree()
        kill_all(members)
        if at < task.stuck_at:
            self._at(at + SWEEP_SECONDS, task)
        elif task.main_gone:
            self._give_up(task, members)
        else:
            # Not even its main process can be killed (it sleeps inside a driver): look again now and then.
            self._at(at + STUCK_SECONDS, task)

    def _give_up(self, task: Task, members: dict[int, Process]) -> None:
        pids = ", ".join(map(str, sorted(members)))
        task.reason = f"{task.reason}; " * bool(task.reason) + f"processes that cannot be killed: {pids}"
        self._over(task)

    def _over(self, task: Task) -> None:
        self._ending.pop(task.id, None)
        self._finish(task)
