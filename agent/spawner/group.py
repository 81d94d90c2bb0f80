"""The control group of one task: what lives in it, how all of that is killed at one stroke, what memory it used."""

import contextlib
import os
import signal
import time

from agent.spawner import procs

UNIFIED, FREEZER, MEMORY, CPU, PIDS = "unified", "freezer", "memory", "cpu", "pids"
# In microseconds: how often a group gets its time anew.
_PERIOD = 100_000
# While a version 1 group freezes, so long at most is waited for all of it to stand still.
_FREEZE_SECONDS = 0.05


class Group:
    """A folder in each hierarchy that is in use; ``paths`` by ``UNIFIED`` (version 2), or of
    version 1 ``FREEZER``, ``MEMORY``, ``CPU``, ``PIDS``."""

    __slots__ = ("_held", "fresh", "paths")

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths
        # Nothing was ever in it: what its counters say is its task's. None of a used one's may be taken for that.
        self.fresh = True
        # What was last written, by file: a group that is used again mostly has its next task's limits already.
        self._held: dict[str, str] = {}

    def exists(self) -> bool:
        """Whether it is (still) there, with anything in it or not."""
        return any(os.path.isdir(path) for path in self.paths.values())

    def processes(self) -> dict[int, procs.Process]:
        """All living processes in it, also in groups that they made below it."""
        found: set[int] = set()
        for path in self.paths.values():
            for folder, _, _ in os.walk(path):
                found.update(_processes(folder))
        found.discard(os.getpid())
        looked = ((pid, procs.look(pid)) for pid in found)
        return {pid: process for pid, process in looked if process is not None and process.alive}

    def kill(self) -> None:
        """Kill all that is in it at one stroke; what forks meanwhile is not faster."""
        unified = self.paths.get(UNIFIED)
        if unified is None or not wrote(f"{unified}/cgroup.kill", "1"):
            self._kill_one_by_one()

    def _kill_one_by_one(self) -> None:
        self._freeze(True)
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        # The killed end when they are thawed.
        self._freeze(False)

    def _freeze(self, wanted: bool) -> None:
        unified, freezer = self.paths.get(UNIFIED), self.paths.get(FREEZER)
        if unified is not None:
            wrote(f"{unified}/cgroup.freeze", "1" if wanted else "0")
        elif freezer is not None and wrote(f"{freezer}/freezer.state", "FROZEN" if wanted else "THAWED") and wanted:
            until = time.monotonic() + _FREEZE_SECONDS
            while read(f"{freezer}/freezer.state").strip() != "FROZEN" and time.monotonic() < until:
                time.sleep(0.001)

    def remove(self) -> bool:
        """Remove it with all groups below it; false if something still lives in it."""
        removed = True
        for path in self.paths.values():
            for folder, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    continue
                except OSError:
                    removed = False
        return removed

    def reuse(self) -> bool:
        """Make it ready for another task, which is cheaper than a new one; false if it can't be told from its last."""
        for path in self.paths.values():
            try:
                empty = not read(f"{path}/cgroup.procs") and os.stat(path).st_nlink == 2
            except OSError:
                return False
            if not empty:
                return False
        if self.memory_kills():
            return False
        if MEMORY in self.paths:
            wrote(f"{self.paths[MEMORY]}/memory.max_usage_in_bytes", "0")
        self.fresh = False
        return True

    # --- processors and processes ---------------------------------------------------------------------------------

    def limit_cpu(self, cpus: float, hard: bool) -> bool:
        """Give it the weight of ``cpus`` processors where others want theirs too; ``hard``: and never more."""
        quota = str(round(cpus * _PERIOD)) if hard else ""
        if CPU in self.paths:
            path = self.paths[CPU]
            held = self._hold(f"{path}/cpu.shares", str(min(262_144, max(2, round(1024 * cpus)))))
            return self._hold(f"{path}/cpu.cfs_quota_us", quota or "-1") and held
        path = self.paths.get(UNIFIED, "")
        # To 10000 at most, for 250 processors; a group that says nothing has 100.
        held = self._hold(f"{path}/cpu.weight", str(min(10_000, max(1, round(40 * cpus)))))
        return self._hold(f"{path}/cpu.max", f"{quota or 'max'} {_PERIOD}") and held

    def limit_pids(self, most: int) -> bool:
        """Let it have so many processes and threads at most."""
        return self._hold(f"{self.paths.get(PIDS) or self.paths.get(UNIFIED, '')}/pids.max", str(most))

    def _hold(self, path: str, text: str) -> bool:
        if self._held.get(path) == text:
            return True
        held = wrote(path, text)
        if held:
            self._held[path] = text
        return held

    # --- memory ---------------------------------------------------------------------------------------------------

    def limit_memory(self, limit: int) -> bool:
        """Let all its processes together use at most so many bytes; false if that is not to be had here."""
        if MEMORY in self.paths:
            path = self.paths[MEMORY]
            held = wrote(f"{path}/memory.limit_in_bytes", str(limit))
            # With swap a task over its limit would be slow for ever instead of ending.
            wrote(f"{path}/memory.memsw.limit_in_bytes", str(limit))
            return held
        path = self.paths.get(UNIFIED, "")
        held = wrote(f"{path}/memory.max", str(limit))
        wrote(f"{path}/memory.swap.max", "0")
        return held

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory: its own limit's, or the host's."""
        if MEMORY in self.paths:
            return _field(f"{self.paths[MEMORY]}/memory.oom_control", "oom_kill")
        return _field(f"{self.paths.get(UNIFIED, '')}/memory.events", "oom_kill")

    def memory_peak(self) -> int:
        """The most bytes that its processes used at once; 0: not known."""
        if not self.fresh and MEMORY not in self.paths:
            return 0
        name = f"{self.paths[MEMORY]}/memory.max_usage_in_bytes" if MEMORY in self.paths else ""
        text = read(name or f"{self.paths.get(UNIFIED, '')}/memory.peak").strip()
        return int(text) if text.isdigit() else 0


def group_of(paths: object) -> Group | None:
    """The group that a journal speaks of, if it still is there."""
    group = Group({str(kind): str(path) for kind, path in paths.items()}) if isinstance(paths, dict) else None
    if group is None or not group.exists():
        return None
    group.fresh = False
    return group


def _processes(folder: str) -> list[int]:
    return [int(pid) for pid in read(f"{folder}/cgroup.procs").split()]


def _field(path: str, name: str) -> int:
    for line in read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def read(path: str) -> str:
    """A file of the kernel's; empty if there is none, or none to be read."""
    # Not by `open`, which takes three times as long: some are read for every task.
    parts = []
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return b"".join(parts).decode(errors="replace")


def wrote(path: str, text: str) -> bool:
    """Write a file of the kernel's; false if it takes that not."""
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
