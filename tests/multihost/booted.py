"""A bare host that its own systemd has started, as the first process of what it takes for a machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.multihost.bare import FILES, Bare, bare_host
from tests.multihost.net import Host
from tests.support import eventually, missing

_SYSTEMD = Path("/usr/lib/systemd/systemd")

# In control groups of its own, and with nothing else of them to be seen.
_APART = """
set -e
name=$1 root=$2 files=$3; shift 3
for tree; do echo $$ >"$tree/$name/cgroup.procs"; done
exec unshare --mount --uts --ipc --cgroup --pid --fork --kill-child sh -c "$files" make "$root"
"""
# Nothing in there may change the machine that the test runs on: devices of its own, the kernel's settings to read only;
# of its services none is to start.
_BOOT = """
mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=755 none dev
mkdir dev/pts dev/shm
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/${device%:*} c 1 ${device#*:}; done
ln -s /proc/self/fd dev/fd; ln -s pts/ptmx dev/ptmx
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
mount -t tmpfs -o mode=1777 none dev/shm
mount -t tmpfs -o mode=755 none run
# As on any machine of today, whatever this one has: version 2 alone. It may have no controllers for it.
mount -t cgroup2 none sys/fs/cgroup
rm -rf etc/systemd/system etc/systemd/user etc/fstab etc/init.d etc/rc?.d
mkdir etc/systemd/system
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
echo bare >etc/hostname
mkdir old; pivot_root . old; cd /; umount -l old; rmdir old
echo ready
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system \
  --unit=multi-user.target --log-target=null --show-status=no >/dev/null 2>&1
"""


@contextmanager
def booted_host(host: Host, folder: Path) -> Iterator[Bare]:
    """A machine that systemd runs, at the place of ``host``."""
    if not _SYSTEMD.exists() or shutil.which("dbus-daemon") is None:
        missing("systemd", "install it with: apt-get install systemd dbus")
    name, trees = f"rp-systemd-{os.getpid()}", _trees()
    try:
        for tree in trees:
            _make(Path(tree, name))
        command = ("sh", "-c", _APART, "apart", name, str(folder), FILES + _BOOT, *trees)
        with bare_host(host, folder, command, Path("/")) as machine:
            ask = ("systemctl", "is-system-running")
            eventually(lambda: machine.run(*ask).out == "running\n", what="a machine that has started")
            yield machine
    finally:
        for tree in trees:
            _remove(Path(tree, name))


def _trees() -> list[str]:
    """Where control groups are mounted: all kinds, for systemd finds those that it has not been given."""
    lines = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount.split()[4] for mount, what in lines if what.startswith("cgroup")]


def _make(group: Path) -> None:
    group.mkdir()
    for needed in ("cpuset.cpus", "cpuset.mems"):
        if (group / needed).exists() and (group.parent / needed).exists():
            (group / needed).write_text((group.parent / needed).read_text())


def _remove(group: Path) -> None:
    """With all below it, once the last of their processes is gone."""
    for folder, _, _ in os.walk(group, topdown=False):
        procs = Path(folder, "cgroup.procs")
        eventually(lambda procs=procs: not procs.read_text(), what="the end of all processes")
        os.rmdir(folder)
