"""Where this process may make control groups: version 2 if it may be written, version 1 for what that lacks."""

import os

from agent.spawner.group import CPU, FREEZER, MEMORY, PIDS, UNIFIED, read, wrote

# Under this name systemd keeps our own processes apart from the tasks (DelegateSubgroup=): version 2 lets a group
# hand controllers down only if no process is in it.
SUBGROUP = "supervisor"
PREFIX = "rallypoint-"
# Controllers that hold a task to what it may use; each a hierarchy of its own in version 1.
LIMITS = (MEMORY, CPU, PIDS)


class Hierarchy:
    """One mounted tree of groups: our own processes are in ``home``, our tasks' groups are to be in ``base``."""

    __slots__ = ("base", "controllers", "home", "kind")

    def __init__(self, kind: str, home: str, base: str) -> None:
        self.kind = kind
        self.home = home
        self.base = base
        # Of those that can hold tasks to a limit.
        self.controllers = {kind} & set(LIMITS)

    @property
    def memory(self) -> bool:
        """Whether its groups count and limit memory."""
        return MEMORY in self.controllers

    def make(self) -> str:
        """Make ``base``, with what it needs to limit its groups; returns why that does not go, or nothing."""
        try:
            os.makedirs(self.base, 0o755, exist_ok=True)
        except OSError as error:
            return f"{self.base}: {error.strerror}"
        if self.kind == UNIFIED:
            self.controllers = _hand_down(self.base, _hand_down(os.path.dirname(self.base), set(LIMITS)))
        return ""


def _hand_down(folder: str, wanted: set[str]) -> set[str]:
    """Those of the ``wanted`` controllers that the groups below ``folder`` have."""
    control = f"{folder}/cgroup.subtree_control"
    has, may = read(control).split(), read(f"{folder}/cgroup.controllers").split()
    missing = sorted(name for name in wanted if name in may and name not in has)
    if missing and wrote(control, " ".join(f"+{name}" for name in missing)):
        return wanted & {*has, *missing}
    return wanted & {*has, *(name for name in missing if wrote(control, f"+{name}"))}


def usable(name: str) -> tuple[list[Hierarchy], str]:
    """The hierarchies to use for an agent called ``name``, and why one that would be wanted is not among them."""
    mounts, own = _mounts(), _own_paths()
    found: list[Hierarchy] = []
    reasons: list[str] = []

    def take(kind: str) -> None:
        hierarchy = _hierarchy(kind, name, mounts, own)
        reason = f"no control groups ({kind}) are mounted" if hierarchy is None else hierarchy.make()
        if hierarchy is not None and not reason:
            found.append(hierarchy)
        else:
            reasons.append(reason)

    take(UNIFIED)
    if not found:
        take(FREEZER)
    for kind in LIMITS:
        if not any(kind in hierarchy.controllers for hierarchy in found):
            take(kind)
    return found, "; ".join(reasons)


def home_of_ours() -> str:
    """The folder of the version 2 group in which this process is; empty: there is none."""
    return _home(UNIFIED, _mounts(), _own_paths())


def _hierarchy(kind: str, name: str, mounts: dict[str, tuple[str, str]], own: dict[str, str]) -> Hierarchy | None:
    home = _home(kind, mounts, own)
    if not home:
        return None
    place = os.path.dirname(home) if os.path.basename(home) == SUBGROUP else home
    return Hierarchy(kind, home, f"{place}/{PREFIX}{name}")


def _home(kind: str, mounts: dict[str, tuple[str, str]], own: dict[str, str]) -> str:
    if kind not in mounts or kind not in own:
        return ""
    root, point = mounts[kind]
    path = own[kind]
    if root != "/" and (path + "/").startswith(root + "/"):
        # A container sees its own part of the tree, and may yet be told the whole path.
        path = path[len(root) :]
    home = os.path.normpath(f"{point}/{path}")
    if not f"{home}/".startswith(f"{point}/") or not os.path.isdir(home):
        return point
    return home


def _mounts() -> dict[str, tuple[str, str]]:
    """The root within its hierarchy and the mount point, by kind."""
    found: dict[str, tuple[str, str]] = {}
    for line in read("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        root, point = fields.split(" ")[3:5]
        if kind == "cgroup2":
            found[UNIFIED] = root, point
        elif kind == "cgroup":
            for controller in {FREEZER, *LIMITS} & set(options.rpartition(" ")[2].split(",")):
                found[controller] = root, point
    return found


def _own_paths() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found[UNIFIED] = path
        for controller in controllers.split(","):
            if controller in (FREEZER, *LIMITS):
                found[controller] = path
    return found
