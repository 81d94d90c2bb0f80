"""Ports for the masters of groups: free when chosen, and held until the master starts."""

from __future__ import annotations

import errno
import random
import socket


class PortError(OSError):
    """No port for a master is free."""


class PortKeeper:
    """Holds a bound socket for each prepared node, within ``low`` to ``high``."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._held: dict[str, socket.socket] = {}

    def hold(self, key: str) -> int:
        """Choose and hold a port for ``key``.

        Raises:
            PortError: all are taken.
        """
        span = self._high - self._low + 1
        # From anywhere in the range: a port that was just given back may still be known to a dead job's peers.
        first = random.randrange(span)
        for step in range(span):
            port = self._low + (first + step) % span
            holder = _bound(port)
            if holder is not None:
                self.release(key)
                self._held[key] = holder
                return port
        raise PortError(errno.EADDRINUSE, f"no free port from {self._low} to {self._high} for a group's master")

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
