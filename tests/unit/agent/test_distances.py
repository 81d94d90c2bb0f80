"""How far a target is, over real connections on the loop-back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import distances
from agent.core.model import Distance
from agent.distances import BadTarget, Meter, parse_target
from agent.session.roundtrip import RoundTrip
from agent.tcpinfo import kernel_round_trip

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        server.settimeout(5)
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def measure(*targets: str) -> list[Distance]:
    async def scenario() -> list[Distance]:
        return await Meter().measure(targets)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("data.example.org", ("data.example.org", 443)),
        ("10.0.0.5:9000", ("10.0.0.5", 9000)),
        ("[fd00::1]:9000", ("fd00::1", 9000)),
        ("[::1]", ("::1", 443)),
        ("https://bucket.example.org/a/b?c=d", ("bucket.example.org", 443)),
        ("http://mirror:8080", ("mirror", 8080)),
        ("http://mirror/x", ("mirror", 80)),
    ],
)
def test_targets(text: str, wanted: tuple[str, int]) -> None:
    assert parse_target(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "a b", "a\nb", "-" * 3000, "h\u00f6st", "/etc/passwd"),
        *("host:0", "host:65536", "host:x", "ftp://host/", "https://", "https://u@host/", "user:password@host"),
    ],
)
def test_nonsense_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(BadTarget, match="write HOST, HOST:PORT or an http"):
        parse_target(text)
    (said,) = measure(text)
    assert said.seconds is None
    assert "is no target" in said.reason


@given(st.text(max_size=30))
def test_no_text_gives_anything_but_a_host_and_a_port(text: str) -> None:
    try:
        host, port = parse_target(text)
    except BadTarget:
        return
    assert 0 < port < 65536
    assert host.isascii()
    assert host
    assert not set(host) & set(" /@?#\n")


def test_an_open_port_is_measured_by_a_few_connections_that_carry_nothing(listener: socket.socket) -> None:
    (seen,) = measure(f"127.0.0.1:{port_of(listener)}")
    assert seen.reason == ""
    assert seen.seconds is not None
    assert 0 < seen.seconds < distances.LIMIT_SECONDS
    for _ in range(distances.TRIES):
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b"", "it said something"


def test_what_fails_says_why(listener: socket.socket) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = port_of(closed)
    closed.close()
    nobody, gone = measure("nobody.invalid", f"http://127.0.0.1:{port}/")
    assert (gone.seconds, gone.reason) == (None, "connection refused")
    assert nobody.seconds is None
    assert nobody.reason


def test_what_does_not_answer_costs_its_time_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # The kernel takes one connection that nobody accepts, and lets the others knock.
        held = [socket.socket() for _ in range(3)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        (said,) = measure(f"127.0.0.1:{port_of(full)}")
        for each in held:
            each.close()
    assert (said.seconds, said.reason) == (None, "timed out after 1.5 s")


def test_more_targets_than_a_host_takes_at_once_are_refused(listener: socket.socket) -> None:
    targets = [f"127.0.0.1:{port_of(listener)}"] * (distances.MAX_TARGETS + 1)
    seen = measure(*targets)
    assert [each.seconds is None for each in seen].count(True) == 1
    assert "measures 64 targets already" in seen[-1].reason


def test_a_look_up_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30) and [])
    try:
        (said,) = measure("slow.example")
        assert said.reason == "timed out after 1.5 s"
    finally:
        release.set()


def test_the_kernel_tells_what_the_way_took(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as connection:
        told = kernel_round_trip(connection)
    assert told is not None
    assert 0 < told < 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        assert kernel_round_trip(other) is None, "no TCP connection"


def test_calls_are_told_by_their_middle() -> None:
    calls = RoundTrip()
    assert calls.seconds is None
    for seconds in (0.02, 9.0, 0.03):
        calls.took(seconds)
    assert calls.seconds == 0.03
    for _ in range(15):
        calls.took(0.5)
    assert calls.seconds == 0.5, "what was long ago counts no more"
