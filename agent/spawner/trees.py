"""Ends what is left of tasks: a task is over when its main process and everything that came of it are gone."""

import signal
from collections.abc import Callable

from agent.spawner.group import read
from agent.spawner.nursery import Nursery
from agent.spawner.task import Task, kill_all, signal_all
from agent.spawner.watch import Watch
from agent.spawner.wire import now

# What is left of a tree when its main process has ended gets TERM, and KILL after this.
LEFTOVER_GRACE = 2.0
# After KILL, how often to look whether it is gone; after how long to say that it is not, and how often to look then.
SWEEP_SECONDS = 0.05
STUCK_SECONDS = 5.0
STUCK_LOOK_SECONDS = 1.0


class Trees:
    """All tasks' trees.

    ``at`` has a task looked at again at a time; ``finish`` is told of one that is gone, ``stuck`` of one that can't be
    killed. ``is_pending``: its processes are gone, and yet it is not over.
    """

    def __init__(
        self,
        watch: Watch,
        nursery: Nursery,
        at: Callable[[float, Task], None],
        finish: Callable[[Task], None],
        stuck: Callable[[Task, str], None],
        is_pending: Callable[[Task], bool],
    ) -> None:
        self._watch = watch
        self._nursery = nursery
        self._at = at
        self._finish = finish
        self._stuck = stuck
        self._is_pending = is_pending
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
                # One that is stuck is looked at by the clock, not whenever any process ends.
                if not task.stuck:
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
        if task.adopted and not task.stuck:
            # Not our children: no signal tells of their end.
            self._look_again(task, SWEEP_SECONDS)

    def kill(self, task: Task, at: float) -> None:
        """Kill the whole tree, and look again until it is gone."""
        if task.stuck_at is None:
            task.stuck_at = at + STUCK_SECONDS
        if task.group is not None:
            # It may be the one in which we are ourselves.
            self._nursery.move_on()
            task.group.kill()
        task.signal_groups(signal.SIGKILL)
        members = task.tree()
        kill_all(members)
        if at < task.stuck_at or not members:
            self._look_again(task, SWEEP_SECONDS)
            return
        # It sleeps inside a driver, or is frozen. Whatever it holds it holds: the task is not over before it is gone.
        self._stuck(task, "processes that cannot be killed: " + ", ".join(map(_named, sorted(members))))
        self._look_again(task, STUCK_LOOK_SECONDS)

    def _look_again(self, task: Task, seconds: float) -> None:
        """Once, however many ask for it."""
        at = now()
        if task.look_at <= at:
            task.look_at = at + seconds
            self._at(task.look_at, task)

    def _over(self, task: Task) -> None:
        if self._is_pending(task):
            return
        self._ending.pop(task.id, None)
        self._finish(task)


def _named(pid: int) -> str:
    name = read(f"/proc/{pid}/comm").strip()
    return f"{pid} ({name})" if name else str(pid)
