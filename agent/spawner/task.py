"""One task: how it is spawned, what is known of it, and how its whole tree is signalled."""

import contextlib
import errno
import os
import resource
import signal
import stat
from collections.abc import Iterable

from agent.spawner import procs
from agent.spawner.group import Group
from agent.spawner.user import User, acting_as
from agent.spawner.wire import Message

# Python ignores these; a task must start as from a shell.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


_HARD = resource.getrlimit(resource.RLIMIT_RTTIME)[1]

# As shells say it: a program that is not there, and one that is but can't be executed.
NOT_FOUND = 127
NOT_EXECUTABLE = 126


class StartError(Exception):
    """A task could not be started: the message is the reason, for the user.

    ``code`` is the exit code that a shell would give for it, if any.
    """

    def __init__(self, message: str, code: "int | None" = None) -> None:
        super().__init__(message)
        self.code = code


class HostError(Exception):
    """A task could not be started because this host lacks what any task needs: the message says what."""


class Task:
    """A task that was started; times are on the clock of ``wire.now``."""

    __slots__ = (
        "adopted",
        "after",
        "cause",
        "code",
        "execs",
        "grace",
        "group",
        "id",
        "kill_at",
        "limit_at",
        "log",
        "look_at",
        "main_dead",
        "main_gone",
        "mark",
        "memory",
        "note",
        "pid",
        "pidfd",
        "reason",
        "signal",
        "start",
        "stuck",
        "stuck_at",
        "swept",
        "undo",
        "undo_at",
        "undo_pid",
        "undo_until",
        "undone",
    )

    def __init__(self, task: str, mark: str, pid: int, start: int, log: str, stop_signal: str, grace: float) -> None:
        self.id = task
        self.mark = mark
        self.pid = pid
        self.start = start
        self.log = log
        self.signal = stop_signal
        self.grace = grace
        self.adopted = False
        self.pidfd = -1
        # Nothing: it has none of its own. Bytes that it may use, if its user set a bound.
        self.group: Group | None = None
        self.memory: int | None = None
        self.execs: dict[int, str] = {}
        self.cause = "exit"
        self.reason = ""
        self.code: int | None = None
        # It has ended; and how is known, or known to be lost.
        self.main_dead = False
        self.main_gone = False
        self.swept = False
        # What of it can't be killed, in words; empty: nothing.
        self.stuck = ""
        # When the sweep looks at it again.
        self.look_at = 0.0
        # When the whole tree is killed, when to say what even that does not end, when it has run too long.
        self.kill_at: float | None = None
        self.stuck_at: float | None = None
        self.limit_at: float | None = None
        # Seconds out of contact that it may outlast, if the lease is not longer; nothing: any time.
        self.after: float | None = 0.0
        # Where its main process notes more of its end; a command that must succeed before it is over, when to try it
        # (again), the one that runs, when to say that it does not succeed.
        self.note = ""
        self.undo: Message | None = None
        self.undo_at = 0.0
        self.undo_pid = 0
        self.undo_until: float | None = None
        self.undone = False

    def leaders(self) -> set[int]:
        """Processes that lead the task's sessions. A dead main of an earlier spawner may have lent its pid on."""
        own = set() if self.adopted and self.main_gone else {self.pid}
        return own | {leader for leader in self.execs if _group_lives(leader)}

    def group_lives(self) -> bool:
        """Whether anything (a zombie too) is left in one of the task's process groups."""
        return any(_group_lives(leader) for leader in (self.pid, *self.execs))

    def tree(self) -> dict[int, procs.Process]:
        """Living processes of the task: those in its group; if there are none, those that bear its mark.

        A program that may do so can have left the group, as containers do.
        """
        members = {} if self.group is None else self.group.processes()
        return members or procs.tree(self.mark, self.leaders())

    def signal_groups(self, number: int) -> None:
        """Send a signal to the task's main process group and to those of its extra processes."""
        for leader in self.leaders():
            try:
                os.killpg(leader, number)
            except (ProcessLookupError, PermissionError):
                continue

    def log_bytes(self) -> int:
        """Bytes of output so far."""
        try:
            return os.stat(self.log).st_size
        except OSError:
            return 0


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_all(members: dict[int, procs.Process]) -> None:
    """Kill processes, and each one's group at one stroke: a process that forks and ends would outrun us."""
    for group in {process.group for process in members.values()} - {0, os.getpgrp()}:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    signal_all(members, signal.SIGKILL)


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each of ``pids`` that still is there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def spawn(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    log: str,
    null: int,
    user: "User | None" = None,
    place: "contextlib.AbstractContextManager[None] | None" = None,
) -> int:
    """Start ``argv`` in its own session, as ``user``, output appended to ``log``, which is theirs; returns the pid.

    It gets the brand of the mark in ``env``. It is born within ``place``, which is entered after the output is opened:
    what root opens, it opens in its own file system.

    The working directory of this (single-threaded) process is changed and left so: `posix_spawn` takes none, and it
    is the cheapest way to start a process.

    Raises:
        StartError: no such directory or program, or the system refuses this one.
        HostError: its output can't be written here, or there is no room for another process.
    """
    if not argv or any("\0" in word for word in argv):
        raise StartError(f"{' '.join(argv)!r} could not be started: empty, or with a null character")
    output = _output(log, user)
    try:
        with contextlib.ExitStack() as within:
            if place is not None:
                _enter(within, place)
            within.enter_context(acting_as(user))
            return _spawn(argv, env, cwd, (null, output))
    except OSError as error:
        raise HostError(f"{argv[0]!r} could not be started as another user: {error.strerror}") from None
    finally:
        os.close(output)


def _enter(within: contextlib.ExitStack, place: "contextlib.AbstractContextManager[None]") -> None:
    try:
        within.enter_context(place)
    except OSError as error:
        raise HostError(f"its own /dev/shm could not be had: {error.strerror}") from None


def _output(log: str, user: "User | None") -> int:
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if user is not None:
            # Programs open it anew, by /dev/stdout.
            os.fchown(output, user.uid, user.gid)
    except OSError as error:
        raise HostError(f"output file {log!r}: {error.strerror}") from None
    return output


def _spawn(argv: list[str], env: dict[str, str], cwd: str, files: tuple[int, int]) -> int:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise StartError(f"working directory {cwd!r}: {error.strerror}") from None
    except ValueError as error:
        raise StartError(f"working directory {cwd!r}: {error}") from None
    program = _program(argv[0], env.get("PATH", os.defpath))
    _brand(procs.brand_of(env[procs.MARK]))
    null, output = files
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    except OSError as error:
        reason = f"{argv[0]!r} could not be started: {error.strerror}"
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE):
            raise HostError(reason) from None
        raise StartError(reason, NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE) from None
    except ValueError as error:
        raise StartError(f"{argv[0]!r} could not be started: {error}") from None


def _brand(number: int) -> None:
    """Have the next child bear a brand. Only the soft limit is changed, so that it can always be raised again."""
    # A host may allow no such number (a desktop's limit for real-time work): then only the mark is left.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_RTTIME, (number, _HARD))


def _program(name: str, path: str) -> str:
    if "/" in name:
        return name
    found, closed = "", []
    for directory in path.split(":"):
        candidate = os.path.join(directory, name)
        try:
            mode = os.stat(candidate).st_mode
        except OSError as error:
            closed += [directory] if error.errno == errno.EACCES else []
            continue
        if stat.S_ISREG(mode):
            if os.access(candidate, os.X_OK, effective_ids=True):
                return candidate
            found = found or candidate
    if found:
        raise StartError(f"{name!r} could not be started: {found!r} is not executable", NOT_EXECUTABLE)
    unseen = f", of which closed to its user: {':'.join(closed)}" if closed else ""
    raise StartError(f"{name!r} could not be started: no such program in PATH ({path}{unseen})", NOT_FOUND)
