"""How far a target is: what a job wants to be near to. TCP connections are opened and closed, and carry nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from agent.core.model import Distance
from agent.peer import why_unreached
from agent.tcpinfo import kernel_round_trip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# For all connections to one target, look-up of its name included: the coordinator waits 2 s for the answer.
LIMIT_SECONDS = 1.5
TRIES = 3
# One look at so many addresses of a name.
MAX_ADDRESSES = 4
TARGETS_AT_ONCE = 8
MAX_TARGETS = 64
LONGEST_TARGET = 2048

_TARGET = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(?:/\S*)?", re.ASCII)


class BadTarget(ValueError):
    """The text names nothing to connect to; the message says what would."""


def parse_target(text: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT`` or an http(s) URL; without a port that of https, or of the URL.

    Raises:
        BadTarget: it is none of these.
    """
    match = _TARGET.fullmatch(text) if len(text) <= LONGEST_TARGET else None
    port = int(match[3] or (80 if match[1] == "http" else 443)) if match else 0
    if match is None or not 0 < port < 65536:
        raise BadTarget(f"{text[:80]!r} is no target; write HOST, HOST:PORT or an http(s) URL")
    return match[2].strip("[]"), port


class Meter:
    """Measures within bounds: few targets at a time, few waiting, and a short time for each."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(TARGETS_AT_ONCE)
        self._waiting = 0
        self._names = _Names()

    async def measure(self, targets: Iterable[str]) -> list[Distance]:
        """How far each of these is, or why that can't be told."""
        return list(await asyncio.gather(*(self._one(target) for target in targets)))

    async def _one(self, target: str) -> Distance:
        if self._waiting >= MAX_TARGETS:
            return Distance(target, None, f"this host measures {MAX_TARGETS} targets already; try again")
        self._waiting += 1
        try:
            async with self._slots:
                return await self._measured(target)
        finally:
            self._waiting -= 1

    async def _measured(self, target: str) -> Distance:
        seen: list[float] = []
        try:
            host, port = parse_target(target)
            async with asyncio.timeout(LIMIT_SECONDS):
                await _connect_often(await self._names.look_up(host, port), seen)
        except BadTarget as error:
            return Distance(target, None, str(error))
        except OSError as error:
            # A TimeoutError is one, too. What was seen before counts.
            return Distance(target, min(seen)) if seen else Distance(target, None, _said(error))
        return Distance(target, min(seen))


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"timed out after {LIMIT_SECONDS:g} s"
    return why_unreached(error)


class _Names:
    """Look-ups in threads of their own: one that hangs must hold up neither the agent nor its end."""

    def __init__(self) -> None:
        self._hanging = threading.BoundedSemaphore(2 * TARGETS_AT_ONCE)

    async def look_up(self, host: str, port: int) -> Sequence[Any]:
        """Addresses as ``getaddrinfo`` has them. Raises OSError."""
        if not self._hanging.acquire(blocking=False):
            raise OSError("look-ups of names hang on this host")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[Any]] = loop.create_future()

        def settle(result: Sequence[Any] | None, error: OSError | None) -> None:
            if found.done():
                return
            if error is None:
                found.set_result(result or ())
            else:
                found.set_exception(error)

        def look() -> None:
            result, failure = None, None
            try:
                result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                failure = error
            except UnicodeError:
                failure = OSError(f"{host[:80]!r} is no name of a host")
            finally:
                self._hanging.release()
            with contextlib.suppress(RuntimeError):  # The agent has ended meanwhile.
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=look, name="look-up", daemon=True).start()
        return await found


async def _connect_often(addresses: Sequence[Any], seen: list[float]) -> None:
    """Connect to the address that answers first, a few times; what it took goes to ``seen``. Raises OSError."""
    address = await _first_to_answer(addresses[:MAX_ADDRESSES], seen)
    for _ in range(TRIES - 1):
        seen.append(await _connect(address))


async def _first_to_answer(addresses: Sequence[Any], seen: list[float]) -> Any:
    tries = {asyncio.create_task(_connect(address)): address for address in addresses}
    left, failure = set(tries), OSError("it has no address")
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    seen.append(task.result())
                    return tries[task]
                failure = error if isinstance(error, OSError) else OSError(str(error))
    finally:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    raise failure


async def _connect(address: Any) -> float:
    family, kind, protocol, _, where = address
    with socket.socket(family, kind, protocol) as connection:
        connection.setblocking(False)
        began = time.monotonic()
        await asyncio.get_running_loop().sock_connect(connection, where)
        return kernel_round_trip(connection) or time.monotonic() - began
