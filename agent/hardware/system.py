"""The host without its GPUs, mostly through psutil. Nothing in here fails: what can't be read is unknown."""

from __future__ import annotations

import ipaddress
import os
import platform
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from agent.hardware import cgroup
from agent.hardware.model import Address, Disk, Interface, SystemReading
from agent.hardware.rdma import rdma_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

# Images and boot partitions: nothing of a job is ever written there.
_NO_SPACE_FOR_JOBS = frozenset({"squashfs", "iso9660", "erofs", "cramfs", "udf", "vfat"})


def read_system() -> SystemReading:
    """Read everything anew. It touches every local file system: keep it off the event loop."""
    total, available = _tried(_memory) or (None, None)
    return SystemReading(
        hostname=platform.node(),
        arch=platform.machine(),
        os=_tried(_os_name) or platform.system(),
        kernel=platform.release(),
        boot_id=_tried(lambda: _line("/proc/sys/kernel/random/boot_id")),
        machine_id=_tried(lambda: _line("/etc/machine-id")),
        cpu_model=_tried(_cpu_model),
        cpu_count=_tried(_cpu_count) or 1,
        memory_bytes=total,
        memory_available_bytes=available,
        disks=_tried(_disks) or (),
        interfaces=_tried(_interfaces) or (),
        rdma=_tried(rdma_ports) or (),
    )


def _tried(read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except Exception:
        # psutil parses /proc and /sys of kernels and containers of every kind, and raises what it likes on those
        # it did not expect. An unknown value is reported as such; the report must go out.
        return None


def _line(path: str) -> str | None:
    return Path(path).read_text().strip() or None


def _os_name() -> str | None:
    return platform.freedesktop_os_release().get("PRETTY_NAME")


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    pairs = dict(_pair(line) for line in cpuinfo.read_text().splitlines() if ":" in line)
    names = ("model name", "Model", "cpu model", "cpu", "Processor")
    found = next((pairs[name] for name in names if pairs.get(name)), None)
    return found or _line("/proc/device-tree/model")


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _cpu_count() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup.cpu_quota()
    # Rounded down: a job must not be promised the half of a CPU that is not there.
    return count if quota is None else max(1, min(count, int(quota)))


def _memory() -> tuple[int, int]:
    machine = psutil.virtual_memory()
    limit = cgroup.memory_limit()
    if limit is None:
        return machine.total, machine.available
    left = max(0, limit.limit - limit.used)
    return min(machine.total, limit.limit), min(machine.available, left)


def _disks() -> tuple[Disk, ...]:
    """One entry a device, at its shortest mount point. Network file systems are left out: they can hang."""
    mounts = {"/": ("/", "rootfs", "")}
    for part in psutil.disk_partitions(all=False):
        if part.fstype not in _NO_SPACE_FOR_JOBS and "ro" not in part.opts.split(","):
            mounts[part.mountpoint] = (part.mountpoint, part.device, part.fstype)
    found: dict[int, Disk] = {}
    for mount, device, fs_type in sorted(mounts.values(), key=lambda mount: (len(mount[0]), mount)):
        disk = _tried(lambda m=mount, d=device, f=fs_type: _disk(m, d, f))  # type: ignore[misc]
        if disk is not None:
            found.setdefault(os.stat(mount).st_dev, disk)
    return tuple(found.values())


def _disk(mount: str, device: str, fs_type: str) -> Disk:
    usage = psutil.disk_usage(mount)
    return Disk(mount, device, fs_type, usage.total, usage.free)


def _interfaces() -> tuple[Interface, ...]:
    addresses = psutil.net_if_addrs()
    stats = psutil.net_if_stats()
    return tuple(_interface(name, addresses.get(name, ()), stats.get(name)) for name in sorted({*addresses, *stats}))


def _interface(name: str, addresses: Iterable[Any], stats: Any) -> Interface:
    ips = (_tried(lambda a=entry: _address(a.address, a.netmask)) for entry in addresses if _is_ip(entry))  # type: ignore[misc]
    return Interface(
        name=name,
        addresses=tuple(ip for ip in ips if ip is not None),
        # 0 is psutil's word for "unknown", as virtual interfaces have it.
        speed_mbps=stats.speed or None if stats else None,
        up=bool(stats and stats.isup),
        loopback=bool(stats and "loopback" in stats.flags.split(",")),
    )


def _is_ip(entry: Any) -> bool:
    return entry.family in (socket.AF_INET, socket.AF_INET6)


def _address(ip: str, netmask: str | None) -> Address | None:
    parsed = ipaddress.ip_address(ip.partition("%")[0])
    if parsed.version == 6 and parsed.is_link_local:
        return None
    return Address(str(parsed), _prefix_len(netmask))


def _prefix_len(netmask: str | None) -> int | None:
    if not netmask:
        return None
    return int(ipaddress.ip_address(netmask)).bit_count()
