"""What /proc tells about processes: who is whose child, what carries a task's mark, since when a process runs."""

import os

# Set by the spawner in every process of a task; names the agent too, as several may run on one machine.
MARK = "RALLYPOINT_MARK"

# Added to a brand: so many microseconds of real-time work without a pause are 146,000 years.
_BRANDED = 1 << 62

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


def brand_of(mark: str) -> int:
    """The number that stands for ``mark`` in a limit which every process inherits and nothing is ever limited by.

    It outlasts what a mark in the environment does not: `env -i`, another user, a daemon's double fork.
    """
    number = 0xCBF29CE484222325
    for byte in mark.encode():
        number = (number ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return _BRANDED | number >> 8


def branded(pid: int) -> int:
    """The brand of ``pid``; 0: it has none."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            limits = file.read()
    except OSError:
        return 0
    at = limits.find(b"Max realtime timeout")
    soft = limits[at + 20 : at + 46].strip() if at >= 0 else b""
    return int(soft) if soft.isdigit() and int(soft) >= _BRANDED else 0


def tree(mark: str, leaders: set[int]) -> dict[int, Process]:
    """All living processes of the task that bears ``mark``.

    Args:
        mark: in the environment of its processes; its brand in their limits.
        leaders: processes whose sessions and groups are the task's.
    """
    processes = everything()
    processes.pop(os.getpid(), None)
    brand = brand_of(mark)
    mine = {
        pid
        for pid, p in processes.items()
        if p.session in leaders or p.group in leaders or (branded(pid) or _brand(mark_of(pid))) == brand
    }
    offspring: dict[int, list[int]] = {}
    for process in processes.values():
        offspring.setdefault(process.parent, []).append(process.pid)
    pending = list(mine)
    while pending:
        for child in offspring.get(pending.pop(), ()):
            if child not in mine:
                mine.add(child)
                pending.append(child)
    return {pid: processes[pid] for pid in mine}


def _brand(mark: str) -> int:
    return brand_of(mark) if mark else 0
