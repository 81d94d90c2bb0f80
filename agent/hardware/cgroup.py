"""What the control groups of this process leave it of the machine. Reads versions 1 and 2; never fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """In bytes; ``used`` leaves out the page cache that the kernel would give back first."""

    limit: int
    used: int


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs this process may use at most, ``None`` without a limit."""
    limits = [*_each(root, "", _cpu_v2), *_each(root, "cpu", _cpu_v1)]
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The tightest memory limit over this process, ``None`` without one."""
    limits = [*_each(root, "", _memory_v2), *_each(root, "memory", _memory_v1)]
    return min(limits, key=lambda memory: memory.limit - memory.used, default=None)


def _each(root: Path, controller: str, read: Callable[[Path], T | None]) -> Iterator[T]:
    for folder in _folders(root, controller):
        try:
            found = read(folder)
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            # No such controller here, or a kernel that writes it otherwise: no limit that we could know of.
            continue
        if found is not None:
            yield found


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Our group and its ancestors. In a container our path may be the host's: then only the root is here."""
    mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"] if not controller else [f"sys/fs/cgroup/{controller}"]
    path = Path(_own_path(root, controller).lstrip("/"))
    for mount in mounts:
        for part in (path, *path.parents):
            folder = root / mount / part
            if folder.is_dir():
                yield folder


def _own_path(root: Path, controller: str) -> str:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    return ""


def _cpu_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _cpu_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    period = int((folder / "cpu.cfs_period_us").read_text())
    return quota / period if quota > 0 else None


def _memory_v2(folder: Path) -> MemoryLimit | None:
    limit = (folder / "memory.max").read_text().strip()
    if limit == "max":
        return None
    used = int((folder / "memory.current").read_text())
    return MemoryLimit(int(limit), used - _cache(folder, "inactive_file"))


def _memory_v1(folder: Path) -> MemoryLimit | None:
    limit = int((folder / "memory.limit_in_bytes").read_text())
    if limit >= 1 << 60:
        return None
    used = int((folder / "memory.usage_in_bytes").read_text())
    return MemoryLimit(limit, used - _cache(folder, "total_inactive_file"))


def _cache(folder: Path, name: str) -> int:
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(stat.get(name, 0))
