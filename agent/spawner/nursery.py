"""Where tasks are born: each in a control group of its own, of which nothing that it starts can get out by accident.

A process is in the group in which its parent was when it was forked. So the spawner waits in an empty group, the next
task is born there, and the spawner moves on. Moving the newborn instead would race with its own children; and going
into a group just before a birth would make the task wait for the kernel, which lets the first process that moves after
a while through only after 5 to 15 ms.
"""

import contextlib
import os
import time
from collections.abc import Iterator

from agent.spawner import shm
from agent.spawner.group import FREEZER, UNIFIED, Group, wrote
from agent.spawner.hierarchies import LIMITS, PREFIX, Hierarchy, usable

# So many groups at most are kept for tasks to come.
_KEPT = 64
# Groups that others left empty are removed when nobody has touched them for so long.
_STALE_SECONDS = 60.0


class Nursery:
    """The groups of one agent. Without any (``use`` is false, or the host allows none) tasks are born where we are.

    ``hindered``: why there are not more.
    """

    __slots__ = ("_born", "_free", "_hierarchies", "_leftovers", "_name", "_next", "_no_shm", "_waiting", "reason")

    def __init__(self, name: str, use: bool, hindered: str = "") -> None:
        self._hierarchies: list[Hierarchy] = []
        self.reason = "switched off"
        self._no_shm = shm.hindrance()
        self._name = name
        self._next = 0
        self._born = False
        self._waiting: Group | None = None
        self._leftovers: list[Group] = []
        self._free: list[Group] = []
        if use:
            self._hierarchies, reason = usable(name)
            self.reason = "; ".join(filter(None, (reason, hindered)))

    def held(self) -> dict[str, object]:
        """What ends trees and what limits memory here; empty: nothing does. And why not.

        ``limits``: of each, what holds it, or why nothing does.
        """
        kinds = {hierarchy.kind for hierarchy in self._hierarchies}
        trees = "cgroup v2" if UNIFIED in kinds else "cgroup v1" if FREEZER in kinds else ""
        memory = {hierarchy.kind for hierarchy in self._hierarchies if hierarchy.memory}
        limits = "cgroup v2" if UNIFIED in memory else "cgroup v1" if memory else ""
        reason = "" if trees and limits else self.reason
        return {"trees": trees, "memory": limits, "reason": reason, "limits": self._limits()}

    def _limits(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for name in LIMITS:
            kinds = [hierarchy.kind for hierarchy in self._hierarchies if name in hierarchy.controllers]
            by = ("cgroup v2" if kinds[0] == UNIFIED else "cgroup v1") if kinds else ""
            found[name] = by, "" if by else f"no {name} controller that its agent may use ({self.reason})"
        found["shm"] = "" if self._no_shm else "a tmpfs of its own", self._no_shm
        return found

    def clean(self, kept: list[Group]) -> None:
        """End and remove what earlier spawners left, but for the groups ``kept``."""
        paths = {path for group in kept for path in group.paths.values()}
        for hierarchy in self._hierarchies:
            for path in _folders(hierarchy.base):
                if path not in paths:
                    self.remove(Group({hierarchy.kind: path}), kill=True)
            for path in _folders(os.path.dirname(hierarchy.base)):
                if os.path.basename(path).startswith(PREFIX) and path != hierarchy.base and _is_stale(path):
                    Group({hierarchy.kind: path}).remove()

    # --- births ---------------------------------------------------------------------------------------------------

    def waiting(self, fresh: bool = False) -> Group | None:
        """The group in which the next child will be born; nothing: in none of its own.

        ``fresh``: one whose counters and limits no other task has used.
        """
        if not self._hierarchies:
            return None
        if self._born or self._waiting is None:
            self._move_on(fresh)
        elif fresh and not self._waiting.fresh:
            self._free.append(self._waiting)
            self._move_on(fresh)
        return self._waiting

    def born(self) -> None:
        """A child was born: the group is its own from now on."""
        self._born = self._waiting is not None

    def move_on(self) -> None:
        """Leave the group of the newest child, if we are still there."""
        if self._born:
            self._move_on()

    def _move_on(self, fresh: bool = False) -> None:
        self._born = False
        self._waiting = None
        if self._leftovers:
            self._leftovers = [left for left in self._leftovers if not left.remove()]
        group = self._free.pop() if self._free and not fresh else self._make()
        if group is not None and self._enter(group.paths):
            self._waiting = group
            return
        self._go_home()
        if group is not None:
            self.remove(group)

    def _make(self) -> Group | None:
        try:
            return self._made()
        except FileNotFoundError:
            # Another agent of this machine took the place of our groups for left behind: it was empty for long.
            self._hierarchies, self.reason = usable(self._name)
        except OSError as error:
            self.reason = f"{error.filename}: {error.strerror}"
            return None
        try:
            return self._made() if self._hierarchies else None
        except OSError as error:
            self.reason = f"{error.filename}: {error.strerror}"
            return None

    def _made(self) -> Group:
        while True:
            self._next += 1
            paths = {each.kind: f"{each.base}/{os.getpid()}-{self._next}" for each in self._hierarchies}
            try:
                for path in paths.values():
                    os.mkdir(path)
            except FileExistsError:
                continue
            return Group(paths)

    def _enter(self, paths: dict[str, str]) -> bool:
        return all(wrote(f"{path}/cgroup.procs", "0") for path in paths.values())

    def _go_home(self) -> None:
        self._enter({each.kind: each.home for each in self._hierarchies})

    @contextlib.contextmanager
    def inside(self, group: Group | None) -> Iterator[None]:
        """Within this, children are born in ``group``."""
        if group is None:
            if self._waiting is not None:
                self._go_home()
        elif not self._enter(group.paths):
            self._go_home()
        try:
            yield
        finally:
            if self._waiting is not None and not self._enter(self._waiting.paths):
                self._go_home()
                self._waiting = None

    # --- ends -----------------------------------------------------------------------------------------------------

    def remove(self, group: Group, kill: bool = False, reuse: bool = False) -> None:
        """Remove a group, or keep it for another task; one in which something still dies is tried again later."""
        if kill:
            group.kill()
        if reuse and len(self._free) < _KEPT and group.reuse():
            self._free.append(group)
        elif not group.remove():
            self._leftovers.append(group)

    def close(self) -> None:
        """Leave no group behind."""
        self._go_home()
        for group in (*self._leftovers, *self._free, *([self._waiting] if self._waiting else [])):
            group.remove()
        for hierarchy in self._hierarchies:
            with contextlib.suppress(OSError):
                os.rmdir(hierarchy.base)


def _folders(base: str) -> list[str]:
    try:
        with os.scandir(base) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_stale(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime > _STALE_SECONDS
    except OSError:
        return False
