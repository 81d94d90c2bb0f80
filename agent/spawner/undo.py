"""What has to be undone when a task ends and no kernel undoes it: a container lives with its runtime, not with us.

A task may have a command for that. It runs when the task's processes are gone, again until it succeeds, and only then
is the task over: as long as it may hold anything, nobody else is given what it holds.
"""

import os
from collections.abc import Callable

from agent.spawner import procs
from agent.spawner.nursery import Nursery
from agent.spawner.orders import environment, strings
from agent.spawner.task import HostError, StartError, Task, spawn
from agent.spawner.watch import Watch
from agent.spawner.wire import now

# Between two tries; when to say that it does not succeed.
AGAIN_SECONDS = 1.0
SAY_SECONDS = 20.0


class Undo:
    """Runs the commands. ``at`` has a task looked at again at a time, ``stuck`` is told of one that is not undone."""

    def __init__(
        self,
        nursery: Nursery,
        watch: Watch,
        at: Callable[[float, Task], None],
        stuck: Callable[[Task, str], None],
        null: int,
    ) -> None:
        self._nursery = nursery
        self._watch = watch
        self._at = at
        self._stuck = stuck
        self._null = null
        self._running: dict[int, Task] = {}

    def is_pending(self, task: Task) -> bool:
        """Whether something of the task has yet to be undone; sees to it that it is."""
        if task.undo is None or task.undone:
            return False
        at = now()
        if task.undo_until is None:
            task.undo_until = at + SAY_SECONDS
            self._at(task.undo_until, task)
        if task.undo_pid:
            if at >= task.undo_until:
                self._stuck(task, f"{self._named(task)} does not answer")
        elif at >= task.undo_at:
            self._start(task, at)
        return True

    def has_ended(self, pid: int, code: int) -> Task | None:
        """The task whose command has ended, if ``pid`` is one's."""
        task = self._running.pop(pid, None)
        if task is None:
            return None
        task.undo_pid = 0
        task.undone = code == 0
        if code:
            self._later(task, f"{self._named(task)} ended with {code}")
        return task

    def _start(self, task: Task, at: float) -> None:
        assert task.undo is not None
        # By another mark: what undoes a task is not to be killed with it.
        env = {**environment(task.undo["env"]), procs.MARK: f"{task.mark}/undo"}
        try:
            with self._nursery.inside(None):
                pid = spawn(strings(task.undo["argv"]), env, "/", os.devnull, self._null)
        except (StartError, HostError) as error:
            self._later(task, str(error))
            return
        task.undo_pid = pid
        self._running[pid] = task
        self._watch.add_extra(task, pid)

    def _later(self, task: Task, reason: str) -> None:
        at = now()
        task.undo_at = at + AGAIN_SECONDS
        self._at(task.undo_at, task)
        if task.undo_until is not None and at >= task.undo_until:
            self._stuck(task, reason)

    def _named(self, task: Task) -> str:
        return f"its removal ({(strings(task.undo['argv']) or [''])[0]})" if task.undo else ""
