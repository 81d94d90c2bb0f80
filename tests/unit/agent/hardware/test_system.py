"""The host without its GPUs: what is told agrees with the system, and what can't be read is unknown."""

from __future__ import annotations

import os
import socket
from collections import namedtuple
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from agent.hardware import Address, system
from agent.hardware.system import read_system

pytestmark = pytest.mark.timeout(60)

Entry = namedtuple("Entry", "family address netmask")


def test_it_agrees_with_the_system() -> None:
    host = read_system()
    assert host.hostname == socket.gethostname()
    assert (host.arch, host.kernel) == (os.uname().machine, os.uname().release)
    assert 1 <= host.cpu_count <= len(os.sched_getaffinity(0))
    assert host.memory_bytes is not None
    assert 0 < host.memory_bytes <= psutil.virtual_memory().total
    assert host.memory_available_bytes is not None
    assert host.memory_available_bytes <= host.memory_bytes
    assert host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    root = next(disk for disk in host.disks if disk.mount == "/")
    assert 0 <= root.free_bytes <= root.total_bytes
    loopback = next(i for i in host.interfaces if i.loopback)
    assert Address("127.0.0.1", 8) in loopback.addresses or not loopback.up
    assert all(i.speed_mbps is None or i.speed_mbps > 0 for i in host.interfaces)


def test_fewer_cpus_by_affinity_are_fewer_cpus() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert read_system().cpu_count == 1
    finally:
        os.sched_setaffinity(0, before)


def test_nothing_that_raises_fails_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("a kernel that psutil does not expect")

    for name in ("virtual_memory", "disk_partitions", "disk_usage", "net_if_addrs", "net_if_stats"):
        monkeypatch.setattr(psutil, name, broken)
    monkeypatch.setattr(os, "sched_getaffinity", broken)
    monkeypatch.setattr(Path, "read_text", broken)
    host = read_system()
    assert (host.memory_bytes, host.memory_available_bytes, host.cpu_model, host.boot_id) == (None,) * 4
    assert (host.disks, host.interfaces, host.cpu_count) == ((), (), 1)
    assert host.hostname


def test_a_host_whose_interfaces_can_be_listed_but_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(socket.AF_INET, "10.0.0.4", "255.255.240.0"), Entry(socket.AF_PACKET, "02:00:00:00:00:01", None)]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": entries})
    monkeypatch.setattr(psutil, "net_if_stats", dict)
    (eth0,) = read_system().interfaces
    assert (eth0.addresses, eth0.up, eth0.speed_mbps) == ((Address("10.0.0.4", 20),), False, None)


@pytest.mark.parametrize(
    ("ip", "netmask", "told"),
    [
        ("10.1.2.3", "255.255.255.0", Address("10.1.2.3", 24)),
        ("10.1.2.3", None, Address("10.1.2.3", None)),
        ("fd00::2", "ffff:ffff:ffff:ffff::", Address("fd00::2", 64)),
        ("fe80::1%eth0", "ffff:ffff:ffff:ffff::", None),
    ],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, ip: str, netmask: str | None, told: Address | None) -> None:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [Entry(family, ip, netmask)]})
    (eth0,) = (i for i in read_system().interfaces if i.name == "eth0")
    assert eth0.addresses == (() if told is None else (told,))


Part = namedtuple("Part", "device mountpoint fstype opts")


def test_one_entry_a_file_system_and_none_for_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    parts = [
        Part("/dev/vda", str(bound), "ext4", "rw"),
        Part("/dev/loop1", "/snap/x", "squashfs", "ro"),
        Part("/dev/sr0", "/media/disc", "iso9660", "ro"),
        Part("/dev/vdz", "/no/such/mount", "ext4", "rw"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    mounts = [disk.mount for disk in read_system().disks]
    same = os.stat("/").st_dev == bound.stat().st_dev
    assert mounts == (["/"] if same else ["/", str(bound)])


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor: 0\nmodel name\t: AMD EPYC 9654\n", "AMD EPYC 9654"),
        ("processor: 0\nBogoMIPS: 50\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_cpu_model(tmp_path: Path, text: str, model: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert system._cpu_model(cpuinfo) == model
