"""What is noted of the tasks and what the daemon is told: nothing of an end is told before it is on the disk."""

import contextlib
import os
import time

from rallypoint.failpoints import reach

from agent.spawner.journal import Journal
from agent.spawner.task import Task
from agent.spawner.wire import Message


class Book:
    """The journal in ``directory``, and what waits for it.

    ``news`` collects what the daemon is to hear once the journal is on the disk, ``refusals`` what it hears at once.
    """

    __slots__ = ("_must_sync", "journal", "news", "refusals")

    def __init__(self, directory: str) -> None:
        self.journal = Journal(os.path.join(directory, "spawner.journal"))
        self.news: list[Message] = []
        self.refusals: list[Message] = []
        self._must_sync = False

    @property
    def records(self) -> dict[str, Message]:
        """What is noted of each task."""
        return self.journal.records

    def refuse(self, name: str, reason: str, cause: str = "host") -> None:
        """It is not started. Said even if the disk takes no record: what never ran may run elsewhere."""
        end = {"code": None, "cause": cause, "reason": reason, "log_bytes": 0}
        at = time.time()
        if name in self.records:
            self.journal.add("exited", name, at_end=at, **end)
            self._must_sync = True
        self.refusals.append({"ev": "exited", "id": name, "at": at, **end})

    def started(self, name: str, pid: int, start: int) -> None:
        """A task runs; ``start`` tells its process from a later one of its pid."""
        at = time.time()
        self.journal.add("started", name, pid=pid, start=start, at=at)
        self.news.append({"ev": "started", "id": name, "pid": pid, "at": at})

    def stopping(self, task: Task, kill_at: float) -> None:
        """It was told to end, for a reason that is its own now, and will be killed at ``kill_at``."""
        self.journal.add("stopping", task.id, cause=task.cause, reason=task.reason, kill_at=kill_at)
        self.news.append({"ev": "stopping", "id": task.id})

    def stuck(self, task: Task) -> None:
        """Not even KILL ends it."""
        self.journal.add("stuck", task.id, stuck=task.stuck)
        self.news.append({"ev": "stuck", "id": task.id, "reason": task.stuck})

    def main_ended(self, task: Task, code: int) -> None:
        """Its main process has ended so: out of our hands before the kernel forgets it."""
        reach("spawner.before-exit")
        self.journal.add("ended", task.id, code=code)
        # A full disk: it is kept for the next commit, and only our own death before that would lose it.
        with contextlib.suppress(OSError):
            self.journal.write()

    def extra_ended(self, name: str, key: str, code: int | None, reason: str = "") -> None:
        """An extra process of a task has ended, or could not be started."""
        self.news.append({"ev": "exec_ended", "id": name, "key": key, "code": code, "reason": reason})

    def ended(self, name: str, code: int | None, cause: str, reason: str, log_bytes: int) -> None:
        """A task is over, with all that belonged to it."""
        end = {"code": code, "cause": cause, "reason": reason, "log_bytes": log_bytes}
        at = time.time()
        self.journal.add("exited", name, at_end=at, **end)
        self._must_sync = True
        self.news.append({"ev": "exited", "id": name, "at": at, **end})

    def commit(self) -> None:
        """Bring the journal to the kernel, and to the disk if anything has ended; then the news may be told.

        Raises:
            OSError: the disk takes it not; nothing is lost, and it is to be tried again.
        """
        if self._must_sync:
            reach("spawner.before-sync")
            self.journal.sync()
            reach("spawner.after-sync")
            self._must_sync = False
        else:
            self.journal.write()
