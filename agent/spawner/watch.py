"""Which process is whose: the spawner's children, what it adopted from an earlier one, and orphans that fell to it."""

import os
import select
from collections.abc import Callable

from agent.spawner import procs
from agent.spawner.reaper import exit_code
from agent.spawner.task import Task


class Watch:
    """Tells of the ends of tasks' main and extra processes. ``poll`` is the loop's, for processes that are not ours."""

    __slots__ = ("_extras", "_mains", "_pidfds", "_poll")

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._mains: dict[int, Task] = {}
        self._extras: dict[int, Task] = {}
        self._pidfds: dict[int, Task] = {}

    def add_main(self, task: Task) -> None:
        """Watch the main process of a task that we spawned."""
        self._mains[task.pid] = task

    def add_extra(self, task: Task, pid: int) -> None:
        """Watch one more process of a task."""
        self._extras[pid] = task

    def adopt(self, task: Task) -> None:
        """Watch the main process of a task that an earlier spawner spawned."""
        task.pidfd = os.pidfd_open(task.pid)
        self._pidfds[task.pidfd] = task
        self._poll.register(task.pidfd, select.EPOLLIN)

    def drop_extras(self, task: Task) -> None:
        """A task is over; its extra processes are nobody's news any more."""
        for pid in task.execs:
            self._extras.pop(pid, None)

    def reap(self, note: Callable[[Task, int], None]) -> list[tuple[Task, int, int]]:
        """Collect all children that have ended: the task, the pid (its main one's or an extra one's), the exit code.

        ``note`` hears of each main process first: the kernel forgets a status once it is collected, and we may die.
        """
        found = []
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            pid, code = ended.si_pid, exit_code(ended)
            task = self._mains.pop(pid, None)
            if task is not None:
                note(task, code)
            else:
                task = self._extras.pop(pid, None)
            os.waitpid(pid, 0)
            if task is not None:
                found.append((task, pid, code))
        return found

    def ended(self, fd: int) -> Task | None:
        """The adopted task whose main process has ended, if ``fd`` is of one."""
        task = self._pidfds.pop(fd, None)
        if task is not None:
            self._poll.unregister(fd)
            os.close(fd)
            task.pidfd = -1
        return task

    def orphans(self) -> set[int]:
        """Processes that fell to us because their parents ended; everything's, where the kernel doesn't say."""
        children = procs.children()
        if children is None:
            children = {p.pid for p in procs.everything().values() if p.parent == os.getpid()}
        return children - self._mains.keys() - self._extras.keys()

    def is_reapers(self, task: Task) -> bool:
        """Whether the main process has ended and our own parent, which collects it, has not yet."""
        process = procs.look(task.pid)
        return process is not None and process.start == task.start and process.parent == os.getppid()
