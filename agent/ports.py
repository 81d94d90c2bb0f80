"""Ports for the masters of groups: free when chosen, and held until the master starts."""

from __future__ import annotations

import errno
import random
import socket
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class PortError(OSError):
    """No port for a master is free."""


# So many of the ports given out last are given out again only if all others are taken.
REMEMBERED = 64


class PortKeeper:
    """Holds a bound socket for each prepared node, within ``low`` to ``high``.

    The port that a node had is not that of its next attempt: peers of the last one may still call there.
    """

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._held: dict[str, socket.socket] = {}
        self._given: deque[int] = deque(maxlen=REMEMBERED)

    def hold(self, key: str) -> int:
        """Choose and hold a port for ``key``.

        Raises:
            PortError: all are taken.
        """
        for port in self._choices():
            holder = _bound(port)
            if holder is not None:
                self.release(key)
                self._held[key] = holder
                if port in self._given:
                    self._given.remove(port)
                self._given.append(port)
                return port
        raise PortError(errno.EADDRINUSE, f"no free port from {self._low} to {self._high} for a group's master")

    def _choices(self) -> Iterator[int]:
        """All ports from a random one on, then those that were given out, the oldest first."""
        given = set(self._given)
        span = self._high - self._low + 1
        first = random.randrange(span)
        for step in range(span):
            port = self._low + (first + step) % span
            if port not in given:
                yield port
        yield from tuple(self._given)

    def release(self, key: str) -> None:
        """Let go of ``key``'s port, if one is held."""
        holder = self._held.pop(key, None)
        if holder is not None:
            holder.close()


def _bound(port: int) -> socket.socket | None:
    """A socket bound to ``port`` on all addresses, so that nobody else takes it; not listening, so nobody connects."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind(("", port))
    except OSError:
        holder.close()
        return None
    return holder
