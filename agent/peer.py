"""The peer port: agents prove to each other who they are, and start MPI's daemons for each other.

Frames of a length and a JSON object over mutual TLS 1.3. Who answers is told by the certificate, never by the address:
two rented hosts may well both be 10.0.0.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any

import structlog
from rallypoint.tls import NotAHost, PeerFiles, PeerIdentity, peer_client_context, peer_identity, peer_server_context

from agent.core.model import Probe
from agent.tcpinfo import kernel_round_trip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent.core.model import Member

log = structlog.get_logger()

PROBE_SECONDS = 3.0
# A caller that says nothing, or is slow to say it, is dropped.
REQUEST_SECONDS = 10.0
MAX_FRAME = 256 * 1024
PROBES_AT_ONCE = 64
MAX_CONNECTIONS = 512

_LENGTH = struct.Struct("!I")

Frame = dict[str, Any]


class PeerError(Exception):
    """A peer was not reached, is another one, or refused: the message says which, where and why."""


class PeerPort:
    """This host's end: answers probes and, through ``launch`` and ``measure``, requests to start a process in a shared
    group, and to measure with a member of one."""

    def __init__(self, identity: PeerIdentity, files: PeerFiles) -> None:
        self.identity = identity
        self._files = files
        self._server_context = peer_server_context(files)
        self._client_context = peer_client_context(files)
        self._probes = asyncio.Semaphore(PROBES_AT_ONCE)
        self._connections = 0
        self._server: asyncio.Server | None = None
        self.launch: Callable[[PeerIdentity, Frame], Awaitable[Frame]] | None = None
        self.measure: Callable[[PeerIdentity, Frame], Awaitable[Frame]] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Listen on ``host``:``port`` (0: any free) and return the port.

        Raises:
            PeerError: the address can't be used.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve,
                host,
                port,
                ssl=self._server_context,
                ssl_handshake_timeout=REQUEST_SECONDS,
                limit=MAX_FRAME,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise PeerError(
                f"cannot listen for peers on {host}:{port}: {reason}; choose another port: 'agent start -- "
                f"--peer-listen {host}:PORT' in the background, or 'agent run --peer-listen {host}:PORT'"
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    def renew(self) -> None:
        """Use the certificate that is on disk now for all new connections."""
        for context in (self._server_context, self._client_context):
            context.load_cert_chain(self._files.credentials)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    # --- answering ----------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                await self._answer(reader, writer)
        except (OSError, PeerError, NotAHost, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("peer.dropped", reason=str(error) or type(error).__name__)
        finally:
            self._connections -= 1
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = peer_identity(writer.get_extra_info("ssl_object"))
        if caller.cluster_id != self.identity.cluster_id:
            return
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await _read(reader)
        answers = {"launch": self.launch, "measure": self.measure}
        answer = answers.get(str(request.get("op")))
        if answer is not None:
            _write(writer, await answer(caller, request))
        else:
            _write(writer, {"host_id": self.identity.host_id})
        await writer.drain()

    # --- asking -------------------------------------------------------------------------------------------------

    async def probe_all(self, members: Sequence[Member]) -> list[Probe]:
        """Try every address of every member, at the same time."""
        targets = [(member.host_id, address, member.port) for member in members for address in member.addresses]
        return list(await asyncio.gather(*(self._probe(*target) for target in targets)))

    async def _probe(self, host_id: str, address: str, port: int) -> Probe:
        async with self._probes:
            began = time.monotonic()
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    _, round_trip = await self._exchange(host_id, address, port, {"op": "probe"})
            except PeerError as error:
                return Probe(host_id, address, port, False, str(error), time.monotonic() - began)
            except TimeoutError:
                return Probe(host_id, address, port, False, "timed out", time.monotonic() - began)
            # Many probes at once take turns here; the kernel's figure has none of that in it.
            return Probe(host_id, address, port, True, "", round_trip or time.monotonic() - began)

    async def ask(self, host_id: str, address: str, port: int, request: Frame) -> Frame:
        """Send ``request`` to the host ``host_id`` and return its answer; the handshake proves that it is that host.

        Raises:
            PeerError: refused, unreachable, another host, or no Rallypoint agent.
        """
        answer, _ = await self._exchange(host_id, address, port, request)
        return answer

    async def _exchange(self, host_id: str, address: str, port: int, request: Frame) -> tuple[Frame, float | None]:
        """The answer, and the least round trip (seconds) that the kernel saw on the way to it."""
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=self._client_context, limit=MAX_FRAME)
        except ssl.SSLError as error:
            raise PeerError(f"answered by no agent of this cluster ({error.reason or 'TLS failed'})") from None
        except OSError as error:
            raise PeerError(why_unreached(error)) from None
        try:
            self._check(writer, host_id)
            _write(writer, request)
            await writer.drain()
            return await _read(reader), kernel_round_trip(writer.get_extra_info("socket"))
        except (OSError, asyncio.IncompleteReadError) as error:
            # TLS 1.3: a server that refuses the client's certificate says so only after the handshake.
            reason = getattr(error, "reason", None) or "connection closed"
            raise PeerError(f"refused by the agent there ({reason})") from None
        finally:
            await _close(writer)

    def _check(self, writer: asyncio.StreamWriter, host_id: str) -> None:
        try:
            answered = peer_identity(writer.get_extra_info("ssl_object"))
        except NotAHost as error:
            raise PeerError(f"answered by no agent: {error}") from None
        if answered.host_id != host_id or answered.cluster_id != self.identity.cluster_id:
            raise PeerError(f"answered by host {answered.host_id}")


def why_unreached(error: OSError) -> str:
    """The reason in the system's words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    # By number: asyncio puts its own words, with the address as a tuple, in place of the system's.
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror or str(error)


async def _read(reader: asyncio.StreamReader) -> Frame:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise PeerError(f"a frame of {length} bytes")
    try:
        frame = json.loads(await reader.readexactly(length))
    except ValueError:
        raise PeerError("a frame that is not JSON") from None
    if not isinstance(frame, dict):
        raise PeerError("a frame that is no object")
    return frame


def _write(writer: asyncio.StreamWriter, frame: Frame) -> None:
    body = json.dumps(frame).encode()
    writer.write(_LENGTH.pack(len(body)) + body)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
