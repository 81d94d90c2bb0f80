"""A TCP proxy that lets a request through and keeps the answer, as a line does that is cut at the worst moment."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)
PIECE = 65536


class CuttingProxy:
    """Listens at ``address`` and passes on to ``target``.

    Once a connection has carried more than ``swallow_after`` bytes towards the target, nothing comes back on it any
    more. ``carried`` is what the latest connection has carried that way. ``cut`` resets all connections.
    ``refused_at``: when, by the monotonic clock, a connection ended at once for nobody listens at ``target``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.swallow_after: int | None = None
        self.carried = 0
        self.connections = 0
        self.refused_at: list[float] = []

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, both ways."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Wakes the thread that reads it; the reset goes out when it closes it.
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RD)
                end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                self.refused_at.append(time.monotonic())
                continue
            self.connections += 1
            self.carried = 0
            self._pairs.append((near, far))
            for pump in (self._up, self._down):
                threading.Thread(target=pump, args=(near, far), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(PIECE):
                self.carried += len(data)
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(PIECE):
                if self.swallow_after is None or self.carried <= self.swallow_after:
                    near.sendall(data)
            near.shutdown(socket.SHUT_WR)
