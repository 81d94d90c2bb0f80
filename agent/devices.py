"""Devices that nodes work with, and who may open them."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.users import Account

# Without these nothing is computed, or sent over RDMA.
_NEEDED = (
    "/dev/nvidia[0-9]*",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/dri/renderD*",
    "/dev/kfd",
    "/dev/infiniband/uverbs*",
)
_ALL = ("/dev/nvidia*", "/dev/nvidia-caps/*", *_NEEDED[3:])


def device_groups() -> tuple[int, ...]:
    """Groups that alone may use the devices that nodes work with; root's is none of them.

    Drivers that give these to a group only (video, render, rdma) mean whoever runs programs here.
    """
    found: set[int] = set()
    for about in _devices(_ALL).values():
        open_to_all = about.st_mode & 0o006 == 0o006
        if about.st_gid and about.st_mode & 0o060 == 0o060 and not open_to_all:
            found.add(about.st_gid)
    return tuple(sorted(found))


def closed_devices(account: Account, patterns: Iterable[str] = _NEEDED) -> list[str]:
    """What nodes need and the account can't read and write, by the modes alone."""
    return [path for path, about in _devices(patterns).items() if rights(account, about) & 0o6 != 0o6]


def rights(account: Account, about: os.stat_result) -> int:
    """What the modes give the account, of read (4), write (2) and pass or execute (1)."""
    if about.st_uid == account.uid:
        return about.st_mode >> 6 & 0o7
    if about.st_gid in (account.gid, *account.groups):
        return about.st_mode >> 3 & 0o7
    return about.st_mode & 0o7


def _devices(patterns: Iterable[str]) -> dict[str, os.stat_result]:
    found = {}
    for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):
        with contextlib.suppress(OSError):
            about = os.stat(path)
            if stat.S_ISCHR(about.st_mode):
                found[path] = about
    return found
