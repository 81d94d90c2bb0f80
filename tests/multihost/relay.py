"""A link that takes time: ``relay.py NAMESPACE1 NAME1 NAMESPACE2 NAME2 SECONDS`` makes a TUN device in each of two
network namespaces and carries every packet across, ``SECONDS`` later. Prints ``ready``; ends when it is killed.

The kernel of the machines that tests run on has no netem. Loss and rate are the kernel's (see ``faults``).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET = 65536
# As many packets may be under way as a real line would hold; beyond it they are dropped.
LIMIT = 10_000


def tun(namespace: str, name: str) -> int:
    """A new device ``name`` in ``namespace``. This process stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as place:
        if libc.setns(place.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns", namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def carry(one: int, other: int, delay: float) -> None:
    """Carry packets both ways, for ever."""
    across = {one: other, other: one}
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select(list(across), [], [], wait)
        now = time.monotonic()
        for device in readable:
            packet = os.read(device, PACKET)
            if len(under_way) < LIMIT:
                under_way.append((now + delay, across[device], packet))
        while under_way and under_way[0][0] <= now:
            _, device, packet = under_way.popleft()
            try:
                os.write(device, packet)
            except OSError:
                # The other end is not up (yet), or full: a packet is lost.
                continue


if __name__ == "__main__":
    ends = tun(sys.argv[1], sys.argv[2]), tun(sys.argv[3], sys.argv[4])
    print("ready", flush=True)
    carry(*ends, float(sys.argv[5]))
