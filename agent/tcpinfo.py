"""How far the other end of a TCP connection is, as the kernel saw it: no event loop and no program is in the figure."""

from __future__ import annotations

import socket
import struct
from typing import Protocol

# struct tcp_info of <linux/tcp.h>: tcpi_min_rtt, in microseconds; since Linux 4.6.
_MIN_RTT = struct.Struct("=148xI")
_UNKNOWN = 0xFFFFFFFF


class _HasOptions(Protocol):
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def kernel_round_trip(connection: _HasOptions) -> float | None:
    """The least round trip (seconds) of a connected socket so far; None where the kernel does not tell."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, option, _MIN_RTT.size)
        (microseconds,) = _MIN_RTT.unpack(told)
    except (OSError, struct.error):
        return None
    return None if microseconds in (0, _UNKNOWN) else microseconds / 1e6
