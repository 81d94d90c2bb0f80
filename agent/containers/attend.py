"""Stands for one container: makes it, starts it, passes signals on, waits for it, and ends with its exit code.

Executed as a file, with the standard library alone, by the spawner: `attend.py ORDER`. ORDER is a JSON file, which is
removed as soon as it is read, for it holds the node's variables:

* ``runtime kind name env``: the program, ``podman`` or ``docker``, the container, the program's own environment;
* ``options words``: how it is made, and what comes last of that, its image and arguments;
* ``lines inherited``: the node's variables, those that a file can say and those that it can't;
* ``init``: the container's first process passes signals on; ``limit``: its limit of memory, in words;
* ``folder log ends``: where files may be laid, the node's output, and the list of exit codes that outlives a spawner.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

# Passed on; all others mean this process, or can't be caught.
SIGNALS = [
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGWINCH, signal.SIGPWR, signal.SIGURG, signal.SIGVTALRM, signal.SIGPIPE,
]  # fmt: skip
_MASK = {*SIGNALS, signal.SIGCHLD}
# A runtime that has not answered after so long is said to hang; how long a container may take until it has a process.
ANSWER_SECONDS = 120.0
APPEAR_SECONDS = 5.0
_PAUSE = 0.5
_LONGEST = 500
NOT_MADE = 125
_PR_SET_NAME = 15
# Errors that are none of the job's.
_HOSTS = ("no space left", "cannot connect", "connection refused", "did not answer", "too many open files")


class Ended(Exception):
    """It is over: the exit code, and what is noted of it, if anything."""

    def __init__(self, code: int, cause: str = "", reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.cause = cause
        self.reason = reason


class Attendant:
    """One container and its runtime's commands."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.name: str = order["name"]
        self.env: dict[str, str] = order["env"]
        self.parent = os.getppid()
        self.container = ""
        self.pid = 0
        self.made = False
        self.stopping = 0

    # --- its life -----------------------------------------------------------------------------------------------------

    def attend(self) -> NoReturn:
        """From its making to its end. Raises ``Ended``, always."""
        self.make()
        self.made = True
        if self.stopping:
            raise Ended(128 + self.stopping)
        code = self.follow(["start", "--attach", self.name])
        while (state := self.state()) is None or state["Running"]:
            time.sleep(_PAUSE)
            if state is not None:
                # Its client is gone, not it: podman writes its output itself, docker's has to be attended anew.
                again = ["attach", "--no-stdin", "--sig-proxy=false"] if self.order["kind"] == "docker" else ["wait"]
                self.follow([*again, self.name], quiet=again[0] == "wait")
        self.end(state, code)

    def make(self) -> None:
        """Make it, without starting it. Raises ``Ended``."""
        path = os.path.join(self.order["folder"], "variables")
        with open(path, "w", opener=_for_owner) as file:
            file.writelines(f"{line}\n" for line in self.order["lines"])
        inherited = self.order["inherited"]
        named = [word for name in inherited for word in ("--env", name)]
        words = ["create", *self.order["options"], "--env-file", path, *named, *self.order["words"]]
        try:
            code, said = self.ask(words, {**inherited, **self.env})
            if code and "already in use" in said:
                # It can only be what another agent in this directory left before its host was installed anew.
                self.ask(["rm", "--force", self.name])
                code, said = self.ask(words, {**inherited, **self.env})
        finally:
            os.unlink(path)
        if code:
            self.fail(said, f"{self.order['kind']} could not make its container")

    def end(self, state: dict[str, Any], code: int) -> NoReturn:
        """Say how it ended, as the runtime saw it. Raises ``Ended``."""
        began = not str(state.get("StartedAt", "")).startswith("0001-")
        if not began or state.get("Status") in ("created", "configured"):
            said = _last_line(self.order["log"]) or str(state.get("Error", ""))
            self.fail(said, "its container could not be started", code)
        code = int(state["ExitCode"])
        # Not every runtime sees it in every kind of control groups; the kernel's log does, where it may be read.
        if code and (state.get("OOMKilled") or _was_killed_for_memory(self.container)):
            raise Ended(code, "out_of_memory", f"out of memory: {self.order['limit']}")
        raise Ended(code)

    def fail(self, said: str, what: str, code: int = NOT_MADE) -> NoReturn:
        """End with what the runtime said, and whose fault that is. Raises ``Ended``."""
        said = _shortened(said)
        text = said.lower()
        if "executable file" in text or "no such file or directory" in text:
            code = 127
        elif "permission denied" in text:
            code = 126
        cause = "host" if any(word in text for word in _HOSTS) else "start_failed"
        raise Ended(code or NOT_MADE, cause, f"{what}: {said}")

    # --- the runtime's commands ---------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any] | None:
        """What the runtime knows of it; nothing: it does not answer. Raises ``Ended`` if the container is gone."""
        code, said = self.ask(["inspect", "--type", "container", "--format", "{{.Id}} {{json .State}}", self.name])
        if code == 0:
            with contextlib.suppress(ValueError):
                self.container, _, told = said.partition(" ")
                state = json.loads(told)
                return state if isinstance(state, dict) else None
        if "no such" in said.lower():
            raise Ended(NOT_MADE, "host", "its container was removed by somebody else")
        return None

    def ask(self, words: list[str], env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run one command of the runtime's: its exit code, and what it said (of an error the last line)."""
        reading, writing = os.pipe()
        errors_in, errors_out = os.pipe()
        pid = self.run(words, env or self.env, writing, errors_out)
        os.close(writing)
        os.close(errors_out)
        said = _read_all([reading, errors_in], ANSWER_SECONDS)
        if said is None:
            os.kill(pid, signal.SIGKILL)
        code = self.wait(pid)
        if said is None:
            return NOT_MADE, f"{self.order['kind']} {words[0]} did not answer within {ANSWER_SECONDS:g} s"
        return code, said[0] if code == 0 else said[1]

    def follow(self, words: list[str], quiet: bool = False) -> int:
        """Run a command that lasts as long as the container, with its output as ours, and pass signals on meanwhile."""
        output = os.open(os.devnull, os.O_RDWR) if quiet else 1
        return self.wait(self.run(words, self.env, output, 1))

    def run(self, words: list[str], env: dict[str, str], output: int, errors: int) -> int:
        """Start a command in a process group of its own: what is sent to ours is ours to pass on. Raises ``Ended``."""
        argv = [self.order["runtime"], *words]
        actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, errors, 2)]
        try:
            return os.posix_spawn(
                argv[0], argv, env, file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=list(_MASK)
            )
        except OSError as error:
            if error.errno == errno.E2BIG:
                what = "its variables and commands are longer than a program's arguments may be"
                raise Ended(126, "start_failed", f"its container could not be made: {what}; give it a file") from None
            raise Ended(NOT_MADE, "host", f"{argv[0]} could not be started: {error.strerror}") from None

    def wait(self, pid: int) -> int:
        """Until a command has ended: its exit code. Signals that come meanwhile are passed on."""
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            number = signal.sigtimedwait(_MASK, 5.0)
            if number is not None and number.si_signo != signal.SIGCHLD:
                self.pass_on(number.si_signo)

    # --- signals ------------------------------------------------------------------------------------------------------

    def pass_on(self, number: int) -> None:
        """Give a signal to all processes of the container, as it is given to all of a node's without one."""
        self.stopping = number
        first = self.first() if self.made else 0
        if not first:
            return
        try:
            for pid in _below(first) if self.order["init"] else {*_below(first), first}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        except PermissionError:
            # Another user's: only the runtime may.
            self.ask(["kill", "--signal", str(number), self.name])

    def first(self) -> int:
        """The container's first process, as this host counts; 0: it has none (yet)."""
        until = time.monotonic() + APPEAR_SECONDS
        while not self.pid and time.monotonic() < until:
            state = self.state()
            if state is None or state.get("Status") == "exited":
                return 0
            self.pid = int(state.get("Pid") or 0)
            if not self.pid:
                time.sleep(0.05)
        return self.pid


def _below(first: int) -> set[int]:
    """All living processes that came of ``first``, without it."""
    offspring: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                if fields[0] not in (b"Z", b"X"):
                    offspring.setdefault(int(fields[1]), []).append(int(name))
    found: set[int] = set()
    pending = [first]
    while pending:
        for child in offspring.get(pending.pop(), ()):
            found.add(child)
            pending.append(child)
    return found


def _read_all(pipes: list[int], seconds: float) -> list[str] | None:
    """What comes out of pipes until all of them end; nothing if that takes too long."""
    parts: dict[int, list[bytes]] = {pipe: [] for pipe in pipes}
    left, until = set(pipes), time.monotonic() + seconds
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    try:
        while left:
            if time.monotonic() >= until:
                return None
            for pipe, _ in poll.poll((until - time.monotonic()) * 1000):
                if data := os.read(pipe, 1 << 16):
                    parts[pipe].append(data)
                else:
                    poll.unregister(pipe)
                    left.discard(pipe)
    finally:
        for pipe in pipes:
            os.close(pipe)
    return [b"".join(parts[pipe]).decode(errors="replace").strip() for pipe in pipes]


def _was_killed_for_memory(container: str) -> bool:
    """Whether the kernel says that it killed a process of this container, for want of memory."""
    with contextlib.suppress(OSError):
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            while container:
                try:
                    line = os.read(log, 8192)
                except BrokenPipeError:
                    # Records were overwritten while we read; the next ones are still there.
                    continue
                if b";oom-kill:" in line and container.encode() in line:
                    return True
        finally:
            os.close(log)
    return False


def _last_line(path: str) -> str:
    """The last line of a node's output that is not empty."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def _shortened(said: str) -> str:
    """The last line of what a runtime said, which tells the error, without its decoration."""
    line = next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "it did not say why")
    return line.removeprefix("Error: ")[:_LONGEST]


def _for_owner(path: str, flags: int) -> int:
    """As ``agent.closed``, which this program, apart from all others, does not know."""
    return os.open(path, flags, 0o600)


def _note(order: dict[str, Any], ended: Ended) -> None:
    path = os.path.join(order["folder"], "note")
    with contextlib.suppress(OSError), open(path, "w", opener=_for_owner) as file:
        json.dump({"cause": ended.cause, "reason": ended.reason}, file)


def _outlive(order: dict[str, Any], code: int) -> None:
    """The spawner that started us is gone: put the exit code where its reaper would, if that is gone as well."""
    with contextlib.suppress(OSError), open("/proc/self/stat") as file:
        start = file.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id") as boot, open(order["ends"], "a", opener=_for_owner) as ends:
            ends.write(f"{os.getpid()} {start} {code} {boot.read().strip()}\n")
            ends.flush()
            os.fdatasync(ends.fileno())


def main(path: str) -> int:
    """Attend the container of an order: returns its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _MASK)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"attendant", 0, 0, 0)
    with open(path) as file:
        order = json.load(file)
    os.unlink(path)
    attendant = Attendant(order)
    try:
        attendant.attend()
    except Ended as ended:
        if ended.cause:
            _note(order, ended)
        if os.getppid() != attendant.parent:
            _outlive(order, ended.code)
        return ended.code
    return NOT_MADE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
