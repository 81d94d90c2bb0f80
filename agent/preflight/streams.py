"""How fast data goes between two hosts: round trips, then a few TCP connections at once that carry what they can.

Blocking sockets in threads of their own: the event loop takes no part, and the interpreter's lock is free while the
kernel copies. Who answers opens a port for this one measurement, on one address, and takes only connections that begin
with a secret; the secret was told to the other host alone, over the peer port's mutual TLS.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from agent.core.model import PairSpeed
from agent.tcpinfo import kernel_round_trip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STREAMS = 4
PINGS = 20
CHUNK = 1 << 20
SECRET_BYTES = 32
# A connection that does not prove itself within so long is closed.
HELLO_SECONDS = 2.0
CONNECT_SECONDS = 3.0
# Beside the time that is measured: for the connections of one direction to come, and to be torn down.
SLACK_SECONDS = 4.0
# The first part of the time is not counted: TCP finds out then how much fits.
WARM_UP = 0.25
# Of the threads that carry data: of a CPU that one shares with a usual thread it gets 28 of 29 parts.
PRIORITY = -15
# So often is looked whether data has begun to come.
BEGIN_SECONDS = 0.005

_CONTROL, _UP, _DOWN = b"c", b"u", b"d"
_PING = b"p"
_RATE = struct.Struct("!d")
# What the kernel counts without handing it over.
_DISCARD = getattr(socket, "MSG_TRUNC", 0)


class StreamError(Exception):
    """Nothing, or not all, was measured: the message says why."""


class Sockets:
    """Those of one measurement, and the threads that use them; all of it can be ended from another thread."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def add(self, new: socket.socket, seconds: float) -> socket.socket:
        """Take care of a socket, whose calls take at most ``seconds``. Raises StreamError once it is over."""
        new.settimeout(seconds)
        with self._lock:
            if not self._over.is_set():
                self._open.add(new)
                return new
        new.close()
        raise StreamError("ended")

    def run(self, work: Callable[[socket.socket, int], None], streams: Sequence[socket.socket]) -> None:
        """Do the work for each of these, which is told their numbers, in a thread each."""
        for number, stream in enumerate(streams):
            thread = threading.Thread(target=_ahead, args=(work, stream, number), name="preflight", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, seconds: float) -> None:
        """Wait so long. Raises StreamError as soon as it is over."""
        if self._over.wait(seconds):
            raise StreamError("ended")

    def drop(self, old: Sequence[socket.socket]) -> None:
        """Close these with whatever they still carry, so that it is in nobody's way."""
        with self._lock:
            self._open.difference_update(old)
        _shut(old)
        # A thread that waits for a socket would keep it open, or come upon another one of its number.
        while self._threads:
            self._threads.pop().join()
        for each in old:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()

    def end(self) -> None:
        """End all calls that are under way, and begin no more."""
        with self._lock:
            self._over.set()
            found = list(self._open)
        _shut(found)

    def close(self) -> None:
        """Close what is left."""
        with self._lock:
            self._over.set()
            found = list(self._open)
        self.drop(found)


def _ahead(work: Callable[[socket.socket, int], None], stream: socket.socket, number: int) -> None:
    """Do it before whatever else wants a CPU, if this agent may: a busy host's links are no slower for that."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
    work(stream, number)


def _shut(found: Sequence[socket.socket]) -> None:
    for each in found:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


# ---------------------------------------------------------------- answering


class Answering:
    """One measurement's port on ``address``; ``serve``, in a thread, ends with it, or after a bounded time.

    Raises:
        OSError: the address can't be listened on.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self.secret = secrets.token_bytes(SECRET_BYTES)
        self._seconds = seconds
        self._sockets = Sockets()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=4 * STREAMS)
        self._sockets.add(self._listener, CONNECT_SECONDS + HELLO_SECONDS)
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Answer until the caller is done. Whatever goes wrong, it is the caller who says so."""
        with contextlib.suppress(OSError, StreamError):
            self._serve()
        self._sockets.close()

    def end(self) -> None:
        """Let go of it."""
        self._sockets.end()

    def _serve(self) -> None:
        control = self._admit(_CONTROL)
        control.settimeout(self._seconds + SLACK_SECONDS)
        while word := control.recv(1):
            if word == _PING:
                control.sendall(_PING)
            elif word == _UP:
                streams = [self._admit(_UP) for _ in range(STREAMS)]
                control.sendall(_RATE.pack(drain(self._sockets, streams, self._seconds)))
                self._sockets.drop(streams)
            elif word == _DOWN:
                fill(self._sockets, [self._admit(_DOWN) for _ in range(STREAMS)])

    def _admit(self, kind: bytes) -> socket.socket:
        """The next connection of this kind that knows the secret; strangers are dropped."""
        until = time.monotonic() + CONNECT_SECONDS + HELLO_SECONDS
        while time.monotonic() < until:
            new = self._sockets.add(self._listener.accept()[0], HELLO_SECONDS)
            with contextlib.suppress(OSError, StreamError):
                said = _exactly(new, SECRET_BYTES + 1)
                if hmac.compare_digest(said, self.secret + kind):
                    _tune(new, self._seconds + SLACK_SECONDS)
                    return new
            self._sockets.drop([new])
        raise StreamError("nobody came")


# ---------------------------------------------------------------- calling


class Calling:
    """The other end of an ``Answering``: ``measure``, in a thread, connects to it and measures both ways."""

    def __init__(self, address: str, port: int, secret: bytes, seconds: float) -> None:
        self._where = (address, port)
        self._secret = secret
        self._seconds = seconds
        self._sockets = Sockets()

    def end(self) -> None:
        """Let go of it."""
        self._sockets.end()

    def measure(self) -> PairSpeed:
        """Round trip and throughput, to the other end and from it. Raises StreamError."""
        try:
            return self._measure()
        except TimeoutError:
            raise StreamError(f"{self._text()}: timed out") from None
        except OSError as error:
            raise StreamError(f"{self._text()}: {(error.strerror or str(error)).lower()}") from None
        finally:
            self._sockets.close()

    def _measure(self) -> PairSpeed:
        control = self._connect(_CONTROL)
        latency = _round_trip(control)
        control.sendall(_UP)
        streams = [self._connect(_UP) for _ in range(STREAMS)]
        fill(self._sockets, streams)
        (sent,) = _RATE.unpack(_exactly(control, _RATE.size))
        self._sockets.drop(streams)
        control.sendall(_DOWN)
        streams = [self._connect(_DOWN) for _ in range(STREAMS)]
        received = drain(self._sockets, streams, self._seconds)
        self._sockets.drop(streams)
        if sent <= 0 or received <= 0:
            raise StreamError(f"{self._text()}: nothing came through within {self._seconds:g} s")
        return PairSpeed(latency, sent, received)

    def _connect(self, kind: bytes) -> socket.socket:
        new = self._sockets.add(socket.create_connection(self._where, CONNECT_SECONDS), CONNECT_SECONDS)
        new.sendall(self._secret + kind)
        _tune(new, self._seconds + SLACK_SECONDS)
        return new

    def _text(self) -> str:
        address, port = self._where
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _tune(connection: socket.socket, seconds: float) -> None:
    connection.settimeout(seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _round_trip(control: socket.socket) -> float:
    """The least of some round trips, as the kernel saw them where it tells: no program's delay is in that."""
    seen = []
    for _ in range(PINGS):
        began = time.monotonic()
        control.sendall(_PING)
        _exactly(control, 1)
        seen.append(time.monotonic() - began)
    return kernel_round_trip(control) or min(seen)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = connection.recv(count - len(found))
        if not data:
            raise StreamError("the other end closed the connection")
        found += data
    return found


# ---------------------------------------------------------------- data


def fill(sockets: Sockets, streams: Sequence[socket.socket]) -> None:
    """Send on each of these, in threads, until they are dropped or the other end closes them."""
    data = secrets.token_bytes(CHUNK)  # Nothing on the way is to make it smaller.

    def send(stream: socket.socket, _: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream.sendall(data)

    sockets.run(send, streams)


def drain(sockets: Sockets, streams: Sequence[socket.socket], seconds: float) -> float:
    """What arrives on all of these together, in bits a second, seen for ``seconds``. Raises StreamError when ended."""
    counts, begun = [0] * len(streams), threading.Event()

    def count(stream: socket.socket, number: int) -> None:
        buffer = bytearray(CHUNK)
        with contextlib.suppress(OSError):
            while got := stream.recv_into(buffer, CHUNK, _DISCARD):
                counts[number] += got
                begun.set()

    sockets.run(count, streams)
    began = time.monotonic()
    while not begun.is_set() and time.monotonic() - began < seconds:
        sockets.wait(BEGIN_SECONDS)
    sockets.wait(WARM_UP * seconds)
    first, began = sum(counts), time.monotonic()
    sockets.wait((1 - WARM_UP) * seconds)
    last, ended = sum(counts), time.monotonic()
    return 8 * (last - first) / (ended - began)
