"""What /proc tells about processes: who is whose child, what carries a task's mark, since when a process runs."""

import os

# Set by the spawner in every process of a task; names the agent too, as several may run on one machine.
MARK = "RALLYPOINT_MARK"

# Fields of /proc/PID/stat after the command's closing parenthesis.
_STATE, _PPID, _PGRP, _SESSION, _START = 0, 1, 2, 3, 19


class Process:
    """One process at the time of looking; ``start`` (clock ticks since boot) tells it from a later one of its pid."""

    __slots__ = ("alive", "group", "parent", "pid", "session", "start")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.alive = fields[_STATE] not in (b"Z", b"X")
        self.parent = int(fields[_PPID])
        self.group = int(fields[_PGRP])
        self.session = int(fields[_SESSION])
        self.start = int(fields[_START])


def look(pid: int) -> Process | None:
    """The process ``pid``, or nothing if there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    # The command's name may hold anything, spaces and parentheses too.
    return Process(pid, data[data.rindex(b")") + 2 :].split())


def boot_id() -> str:
    """Names this boot of the machine; pids and start times mean nothing in another one."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def children() -> set[int] | None:
    """Children of this (single-threaded) process; nothing where the kernel doesn't tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return None


def everything() -> dict[int, Process]:
    """All processes that can be seen, zombies left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = look(int(name))
            if process is not None and process.alive:
                found[process.pid] = process
    return found


def mark_of(pid: int) -> str:
    """The mark in the environment with which ``pid`` was started; empty: none, or not to be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:
        return ""
    at = environment.find(b"\0" + MARK.encode() + b"=")
    if at < 0:
        return ""
    start = at + len(MARK) + 2
    end = environment.find(b"\0", start)
    return environment[start : end if end >= 0 else None].decode(errors="replace")


def tree(mark: str, leaders: set[int], roots: set[int]) -> set[int]:
    """All living processes of the task that bears ``mark``.

    Args:
        mark: in the environment of its processes.
        leaders: processes whose sessions and groups are the task's.
        roots: further processes known to be the task's.
    """
    processes = everything()
    mine = {
        pid
        for pid, p in processes.items()
        if pid in roots or p.session in leaders or p.group in leaders or mark_of(pid) == mark
    }
    mine.discard(os.getpid())
    offspring: dict[int, list[int]] = {}
    for process in processes.values():
        offspring.setdefault(process.parent, []).append(process.pid)
    pending = list(mine)
    while pending:
        for child in offspring.get(pending.pop(), ()):
            if child not in mine:
                mine.add(child)
                pending.append(child)
    return mine
