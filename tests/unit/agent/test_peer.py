"""The peer port over real TLS on the loop-back: who answered is told by the certificate."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import statistics
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rallypoint.tls import PeerIdentity, peer_client_context

from agent.core.model import Member
from agent.identity import Identity
from agent.peer import Frame, PeerError, PeerPort, why_unreached
from coordinator.access import ca
from tests.fakes.agent_coordinator import enrol

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    return ca.load_or_create(tmp_path / "ca", time.time())


def identity(tmp_path: Path, authority: ca.Authority, host_id: str) -> Identity:
    return enrol(authority, tmp_path / host_id, host_id, "127.0.0.1:1")


def port_of(found: Identity) -> PeerPort:
    return PeerPort(PeerIdentity(found.cluster_id, found.host_id), found.peer_files)


@asynccontextmanager
async def listening(port: PeerPort) -> AsyncIterator[int]:
    number = await port.listen("127.0.0.1", 0)
    try:
        yield number
    finally:
        await port.close()


def test_a_probe_proves_who_answered(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one, two = (port_of(identity(tmp_path, authority, name)) for name in ("h-1", "h-2"))
        async with listening(two) as number:
            right = Member("h-2", "two", 1, ("127.0.0.1",), number)
            wrong = Member("h-3", "three", 2, ("127.0.0.1",), number)
            good, bad = await one.probe_all([right, wrong])
            assert (good.reached, good.reason, good.host_id) == (True, "", "h-2")
            assert 0 < good.seconds < 3
            assert (bad.reached, bad.reason) == (False, "answered by host h-2")
            assert (bad.host_id, bad.address, bad.port) == ("h-3", "127.0.0.1", number)

    asyncio.run(scenario())


def test_the_way_to_a_peer_has_nothing_of_either_ends_load_in_it(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one, two = (port_of(identity(tmp_path, authority, name)) for name in ("h-1", "h-2"))
        async with listening(two) as number:
            began = time.monotonic()
            probes = await one.probe_all([Member("h-2", "two", 1, ("127.0.0.1",), number)] * 50)
            took = time.monotonic() - began
        assert all(probe.reached for probe in probes)
        assert statistics.median(probe.seconds for probe in probes) < took / 10

    asyncio.run(scenario())


def test_closed_and_silent_ports_say_what_they_are(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one = port_of(identity(tmp_path, authority, "h-1"))
        # The kernel takes the connection, and nobody ever says a word.
        silent = socket.create_server(("127.0.0.1", 0))
        babble = await asyncio.start_server(_babble, "127.0.0.1", 0)
        async with listening(one) as gone:
            pass
        ports = [gone, silent.getsockname()[1], babble.sockets[0].getsockname()[1]]
        refused, timed_out, stranger = await one.probe_all([Member("h-2", "", 0, ("127.0.0.1",), p) for p in ports])
        assert (refused.reached, refused.reason) == (False, "connection refused")
        assert (timed_out.reached, timed_out.reason) == (False, "timed out")
        assert stranger.reason.startswith("answered by no agent of this cluster (")
        silent.close()
        babble.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.ENETUNREACH, "network is unreachable"),
        (errno.ETIMEDOUT, "timed out"),
        (socket.EAI_NONAME, "Connect call failed ('10.7.2.11', 7433)"),
    ],
)
def test_a_reason_is_the_systems_and_not_asyncios(number: int, words: str) -> None:
    assert why_unreached(OSError(number, "Connect call failed ('10.7.2.11', 7433)")) == words


async def _babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0\r\n")
    await writer.drain()
    writer.close()


def test_another_clusters_agent_is_no_peer(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        other = ca.load_or_create(tmp_path / "other-ca", time.time())
        one, stranger = port_of(identity(tmp_path, authority, "h-1")), port_of(identity(tmp_path, other, "h-2"))
        async with listening(stranger) as number:
            [probe] = await one.probe_all([Member("h-2", "", 0, ("127.0.0.1",), number)])
            assert not probe.reached
            assert "answered by no agent of this cluster" in probe.reason
        async with listening(one) as number:
            [probe] = await stranger.probe_all([Member("h-1", "", 0, ("127.0.0.1",), number)])
            assert not probe.reached

    asyncio.run(scenario())


def test_a_caller_without_certificate_and_an_older_tls_are_refused(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one = identity(tmp_path, authority, "h-1")
        async with listening(port_of(one)) as number:
            bare = ssl.create_default_context(cafile=one.ca_path)
            bare.check_hostname = False
            reader, writer = await asyncio.open_connection("127.0.0.1", number, ssl=bare)
            body = b'{"op": "probe"}'
            writer.write(struct.pack("!I", len(body)) + body)
            assert await reader.read() == b""
            writer.close()
            old = peer_client_context(one.peer_files)
            old.minimum_version = ssl.TLSVersion.TLSv1_2
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            # SSLError, or a reset before the alert is read.
            with pytest.raises(OSError, match=r".*"):
                await asyncio.open_connection("127.0.0.1", number, ssl=old)

    asyncio.run(scenario())


def test_a_frame_that_is_too_long_or_no_json_ends_the_connection(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one = identity(tmp_path, authority, "h-1")
        async with listening(port_of(one)) as number:
            for data in (struct.pack("!I", 1 << 30), struct.pack("!I", 3) + b"abc", struct.pack("!I", 2) + b"[]"):
                context = peer_client_context(one.peer_files)
                reader, writer = await asyncio.open_connection("127.0.0.1", number, ssl=context)
                writer.write(data)
                assert await reader.read() == b""
                writer.close()

    asyncio.run(scenario())


def test_a_launch_hears_who_asks(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one, two = (port_of(identity(tmp_path, authority, name)) for name in ("h-1", "h-2"))

        async def launch(caller: PeerIdentity, request: Frame) -> Frame:
            return {"code": 0, "reason": f"{caller.host_id} {request['command']}"}

        two.launch = launch
        async with listening(two) as number:
            answer = await one.ask("h-2", "127.0.0.1", number, {"op": "launch", "command": "orted"})
            assert answer == {"code": 0, "reason": "h-1 orted"}

    asyncio.run(scenario())


def test_a_port_that_is_taken_names_the_way_out(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one, two = (port_of(identity(tmp_path, authority, name)) for name in ("h-1", "h-2"))
        async with listening(one) as number:
            with pytest.raises(PeerError) as error:
                await two.listen("127.0.0.1", number)
        assert str(error.value).startswith(f"cannot listen for peers on 127.0.0.1:{number}: ")
        assert "; choose another port: 'agent start -- --peer-listen 127.0.0.1:PORT' in" in str(error.value)

    asyncio.run(scenario())


def test_a_renewed_certificate_is_used_for_new_connections(tmp_path: Path, authority: ca.Authority) -> None:
    async def scenario() -> None:
        one, two = identity(tmp_path, authority, "h-1"), port_of(identity(tmp_path, authority, "h-2"))
        port = port_of(one)
        before = await _serial(port, one)
        enrol(authority, tmp_path / "h-1", "h-1", "127.0.0.1:1")
        port.renew()
        assert await _serial(port, one) != before
        async with listening(two) as number:
            [probe] = await port.probe_all([Member("h-2", "", 0, ("127.0.0.1",), number)])
            assert probe.reached

    asyncio.run(scenario())


async def _serial(port: PeerPort, known: Identity) -> str:
    async with listening(port) as number:
        context = peer_client_context(known.peer_files)
        _, writer = await asyncio.open_connection("127.0.0.1", number, ssl=context)
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        writer.close()
        return str(certificate["serialNumber"])
