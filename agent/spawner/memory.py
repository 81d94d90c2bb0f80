"""Whether a task was ended for want of memory: by the kernel's own word, never by a guess from an exit code."""

import os
import re
import time

from agent.spawner.group import Group

KMSG = "/dev/kmsg"
_VICTIM = re.compile(rb"Killed process (\d+) \(")
_RESIDENT = re.compile(rb"(?:anon|file|shmem)-rss:(\d+)kB")
_KILLED = 128 + 9


def verdict(group: Group | None, limit: int | None, pid: int, start: int, code: int) -> str:
    """Why a task that ended with ``code`` ran out of memory; empty: it did not, or nobody says so.

    A process of the tree that the kernel killed for memory counts, whatever the main one made of that.
    """
    if group is not None and group.memory_kills():
        return _said(limit, group.memory_peak())
    if code != _KILLED:
        return ""
    peak = _peak_of_victim(pid, start)
    return "" if peak is None else _said(None, peak)


def _said(limit: int | None, peak: int) -> str:
    most = f", peak {size(peak)}" if peak else ""
    if limit is None:
        return f"out of memory: the host had no more to give; no limit of its own{most}"
    return f"out of memory: limit {size(limit)}{most}"


def size(count: int) -> str:
    """``512 MB``, ``1.5 GB``: as in a task file a GB is 2**30 bytes."""
    if count < 1 << 30:
        return f"{round(count / (1 << 20))} MB"
    return f"{count / (1 << 30):.1f}".removesuffix(".0") + " GB"


def _peak_of_victim(pid: int, start: int) -> int | None:
    """Bytes that ``pid``, started ``start`` ticks after boot, held when the kernel killed it for memory; else nothing.

    The kernel's log says so, where it may be read and speaks of pids as we know them: not inside most containers.
    """
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    since = start / os.sysconf("SC_CLK_TCK") - suspended
    for line in _kernel_log():
        found = _VICTIM.search(line)
        if found is not None and int(found[1]) == pid and _seconds(line) >= since - 1.0:
            return sum(int(part) for part in _RESIDENT.findall(line)) * 1024
    return None


def _seconds(line: bytes) -> float:
    """When a record was made, since boot: ``priority,number,microseconds,flags;text``."""
    fields = line.partition(b";")[0].split(b",")
    return int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else 0.0


def _kernel_log() -> list[bytes]:
    try:
        fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    lines = []
    try:
        while True:
            try:
                lines.append(os.read(fd, 8192))
            except BrokenPipeError:
                # Records were overwritten while we read; the next ones are still there.
                continue
            except OSError:
                return lines
    finally:
        os.close(fd)
