"""Processor time of a cluster's processes: unlike a rate it hardly depends on what else the machine does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.multihost.cluster import Cluster

_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the command's closing parenthesis.
_PPID, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14
TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of processor time, user and system, by the kind of process; ``tasks`` are what the spawners ran."""

    seconds: Mapping[str, float]

    def since(self, before: Usage) -> Usage:
        """What was used since ``before``."""
        return Usage({kind: value - before.seconds.get(kind, 0.0) for kind, value in self.seconds.items()})

    @property
    def total(self) -> float:
        """Of all kinds."""
        return sum(self.seconds.values())

    def each(self, count: int) -> str:
        """Milliseconds for each of ``count`` nodes, in words."""
        parts = [f"{kind} {value / count * 1e3:.2f}" for kind, value in self.seconds.items()]
        return f"{self.total / count * 1e3:.2f} ms of CPU a node: {', '.join(parts)}"


def used(cluster: Cluster) -> Usage:
    """What the cluster's coordinator, agents, spawners, reapers and tasks have used until now."""
    found = {"coordinator": _own(_stat(cluster.coordinator.pid))}
    found["agents"] = sum(_own(_stat(agent.program.pid)) for agent in cluster.agents.values())
    return Usage({**found, **used_by_spawners(cluster.folder).seconds})


def used_by_spawners(folder: Path) -> Usage:
    """What the spawners under ``folder``, their reapers and tasks have used until now."""
    found = {"spawners": 0.0, "reapers": 0.0, TASKS: 0.0}
    for reaper in _reapers(folder):
        found["reapers"] += _own(_stat(reaper))
        for spawner in _children(reaper):
            found["spawners"] += _own(_stat(spawner))
            found[TASKS] += _collected(_stat(spawner))
    return Usage(found)


def _reapers(folder: Path) -> Iterator[int]:
    """Processes that serve as spawners under ``folder`` and whose parents do not."""
    mark = str(folder).encode()
    serving = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"agent.spawner\0" in words and mark in words:
            serving.add(int(path.parent.name))
    return (pid for pid in serving if int(_stat(pid)[_PPID]) not in serving)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _own(stat: list[str]) -> float:
    return (int(stat[_UTIME]) + int(stat[_STIME])) / _TICKS


def _collected(stat: list[str]) -> float:
    return (int(stat[_CUTIME]) + int(stat[_CSTIME])) / _TICKS
