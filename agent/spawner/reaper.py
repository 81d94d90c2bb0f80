"""The spawner's parent: it starts the spawner, again if that dies, and keeps orphans' statuses.

Only a parent gets an exit status from the kernel, and a spawner that is killed leaves its tasks without one. As the
subreaper above it this process becomes their parent; what it sees end is on the disk before the kernel forgets it.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable

from agent.closed import for_owner
from agent.spawner import procs

ENDS = "spawner.ends"

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
# Between the death of a spawner and the next one, lest one that can't live takes all of a processor.
_PAUSE = 0.1


def become_subreaper(name: str) -> None:
    """Orphans below this process become its children; ``name`` is what `ps` and `top` call it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def supervise(serve: Callable[[], None], directory: str, before_next: Callable[[], object]) -> int:
    """Run ``serve`` in a child for as long as there are tasks; returns the exit code of the last one.

    ``before_next`` is called when one has died and another is about to be started.
    """
    become_subreaper("task-reaper")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever ends the agent and all around it means the agent: tasks go on, and so must we.
        signal.signal(number, signal.SIG_IGN)
    ends = Ends(directory)
    spawner = _fork(serve)
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        assert ended is not None
        if ended.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED):
            _go_on(ended.si_pid, spawner)
            continue
        if ended.si_pid != spawner:
            ends.note(ended.si_pid, exit_code(ended))
            os.waitpid(ended.si_pid, 0)
            continue
        os.waitpid(spawner, 0)
        code = exit_code(ended)
        if code == 0 or not procs.children():
            return code
        time.sleep(_PAUSE)
        before_next()
        spawner = _fork(serve)


def _go_on(stopped: int, spawner: int) -> None:
    """A task may have been stopped; the spawner must not be, by whom it was just starting a task for."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOHANG)
    if stopped == spawner:
        os.kill(spawner, signal.SIGCONT)


def _fork(serve: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        become_subreaper("task-spawner")
        serve()
        code = 0
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(ended: os.waitid_result) -> int:
    """An exit code as shells say it: 128 and the signal's number."""
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


class Ends:
    """How orphans of dead spawners ended, one line each: pid, start time, exit code, boot."""

    __slots__ = ("_boot", "_path")

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, ENDS)
        self._boot = procs.boot_id()

    def note(self, pid: int, code: int) -> None:
        """Put down how ``pid``, which is still a zombie, has ended: on the disk when this returns, if that takes it."""
        process = procs.look(pid)
        line = f"{pid} {process.start if process else 0} {code} {self._boot}\n"
        with contextlib.suppress(OSError), open(self._path, "a", opener=for_owner) as file:
            file.write(line)
            file.flush()
            os.fdatasync(file.fileno())

    def code_of(self, pid: int, start: int) -> int | None:
        """The exit code of a process; nothing if its end was not seen."""
        try:
            with open(self._path) as file:
                lines = [line.split() for line in file]
        except OSError:
            return None
        for fields in lines:
            if fields[:2] == [str(pid), str(start)] and fields[3:] == [self._boot]:
                return int(fields[2])
        return None

    def clear(self) -> None:
        """Nobody will ask for any of them again."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
