"""What members measure before their group starts: real sockets on the loop-back, real certificates."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rallypoint.tls import PeerIdentity

from agent import environ
from agent.core.model import (
    AllocationId,
    Desired,
    DesiredUpdate,
    GroupMember,
    Measured,
    Measurement,
    PairSpeed,
    Phase,
    Spec,
    Wanted,
)
from agent.nodes import NodeMaker
from agent.peer import PeerError, PeerPort
from agent.places import Places
from agent.ports import PortKeeper
from agent.preflight import Preflight
from agent.preflight.streams import PRIORITY, SECRET_BYTES, Answering, Calling, Sockets, StreamError
from agent.users import HostUsers, only_own
from agent.work import Tools, Work
from coordinator.access import ca
from tests.fakes.agent_coordinator import enrol
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.timeout(60)

SECONDS = 0.2


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "preflight"]


@pytest.fixture
def answering() -> Any:
    """A port for one measurement; at the end no thread of it is left."""
    port = Answering("127.0.0.1", SECONDS)
    threading.Thread(target=port.serve, name="preflight", daemon=True).start()
    yield port
    port.end()
    eventually(lambda: not threads(), 10.0)


# ---------------------------------------------------------------- two ends


def test_a_pair_is_measured_both_ways(answering: Answering) -> None:
    found = Calling("127.0.0.1", answering.port, answering.secret, SECONDS).measure()
    assert 0 < found.latency < 0.1
    assert min(found.sent, found.received) > 1e6


def test_whoever_uses_the_cpus_the_figures_are_the_links() -> None:
    """Of the threads that carry data alone: what starts these goes on as before."""
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), [0.0, 0.0]
    streams = socket.socketpair()

    def note(_: socket.socket, number: int) -> None:
        seen[number] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    sockets = Sockets()
    for each in streams:
        sockets.add(each, SECONDS)
    sockets.run(note, streams)
    eventually(lambda: not threads(), 10.0)
    # Only root may go before others; who may not measures all the same.
    assert seen == [PRIORITY if os.geteuid() == 0 else before] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    sockets.close()


def test_strangers_get_nothing_and_hold_nobody_up(answering: Answering) -> None:
    with socket.create_connection(("127.0.0.1", answering.port)) as stranger:
        stranger.sendall(b"\0" * SECRET_BYTES + b"d")
        stranger.settimeout(10.0)
        try:
            got = stranger.recv(1)
        except ConnectionResetError:
            got = b""
        assert got == b""
    assert Calling("127.0.0.1", answering.port, answering.secret, SECONDS).measure().sent > 0
    eventually(lambda: not threads(), 10.0)
    with pytest.raises(StreamError, match=r"127\.0\.0\.1:\d+: connection refused"):
        Calling("127.0.0.1", answering.port, answering.secret, SECONDS).measure()  # it was for that one only


def test_one_that_does_not_know_the_secret_is_told_so(answering: Answering) -> None:
    with pytest.raises(StreamError, match=r"closed|reset|pipe"):
        Calling("127.0.0.1", answering.port, b"\0" * SECRET_BYTES, SECONDS).measure()


def test_an_end_in_the_middle_takes_no_time() -> None:
    port = Answering("127.0.0.1", 30.0)
    threading.Thread(target=port.serve, name="preflight", daemon=True).start()
    calling = Calling("127.0.0.1", port.port, port.secret, 30.0)
    failed: list[StreamError] = []

    def measure() -> None:
        try:
            calling.measure()
        except StreamError as error:
            failed.append(error)

    caller = threading.Thread(target=measure)
    caller.start()
    # Both ends' threads of the first direction carry data.
    eventually(lambda: len(threads()) > 8, 10.0)
    calling.end()
    port.end()
    eventually(lambda: not threads() and not caller.is_alive(), 20.0)
    assert failed


# ---------------------------------------------------------------- two agents


class Host:
    """An agent's peer port and what is wanted of it."""

    def __init__(self, folder: Path, authority: ca.Authority, name: str) -> None:
        found = enrol(authority, folder / name, name, "127.0.0.1:1")
        self.name, self.number = name, 0
        self.peer = PeerPort(PeerIdentity(found.cluster_id, found.host_id), found.peer_files)
        self.preflight: Preflight
        self.changed = asyncio.Event()
        self.work = work_in(folder / name, lambda desired: self.preflight.measure(desired), self.changed.set)
        nodes: Any = None
        self.preflight = Preflight(self.peer, self.work, nodes)
        self.peer.measure = self.preflight.answer

    def member(self, rank: int) -> GroupMember:
        return GroupMember(rank, self.name, self.name, "127.0.0.1", self.number, 1)

    async def result(self, key: AllocationId) -> Measured:
        while (found := self.work.observed[key].measured) is None:
            self.changed.clear()
            await self.changed.wait()
        return found


def work_in(
    folder: Path, measure: Callable[[Desired], Awaitable[Measured]], changed: Callable[[], None] = lambda: None
) -> Work:
    places = Places(folder)
    places.make()
    archives: Any = None

    async def probe() -> list[Any]:
        return []

    nodes = NodeMaker(places, environ.Host("h-1", "one", "local", "local"), {}, lambda: (), HostUsers(only_own()))
    ports = PortKeeper(20000, 29999)
    tools = Tools(places, nodes, ports, archives, lambda _: None, lambda _: asyncio.create_task(probe()), measure)
    work = Work(tools, lambda _: changed())
    work.renew(tools.now(), 60.0, 5.0)
    return work


async def close(work: Work) -> None:
    """Let go of all that is held, and of the agent's part."""
    work.want(DesiredUpdate(complete=True))
    await work.close()


def wanted(rank: int, order: Measurement | None, phase: Wanted = Wanted.PREPARED) -> DesiredUpdate:
    spec = Spec(nodes=2, cluster=True, argv=("true",))
    desired = Desired(AllocationId(f"j-1.{rank}.1"), "j-1", "job", rank, 1, phase, spec, measures=order)
    return DesiredUpdate(complete=True, allocations=(desired,))


@asynccontextmanager
async def two_hosts(folder: Path) -> AsyncIterator[tuple[Host, Host, Host]]:
    """Two that are to measure with each other, and another one of the same cluster."""
    authority = ca.load_or_create(folder / "ca", time.time())
    hosts = tuple(Host(folder, authority, name) for name in ("h-1", "h-2", "h-3"))
    for host in hosts:
        host.number = await host.peer.listen("127.0.0.1", 0)
    try:
        yield hosts[0], hosts[1], hosts[2]
    finally:
        for host in hosts:
            await close(host.work)
            await host.peer.close()


def test_two_agents_measure_when_both_are_told_and_whichever_is_told_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_hosts(tmp_path) as (one, two, _):
            one.work.want(wanted(0, Measurement(1, SECONDS, "127.0.0.1", two.member(1), calls=True)))
            await asyncio.sleep(0)
            two.work.want(wanted(1, Measurement(1, SECONDS, "127.0.0.1", one.member(0))))
            found = await one.result(AllocationId("j-1.0.1"))
            assert (found.number, found.problem) == (1, "")
            assert isinstance(found.pair, PairSpeed)
            assert two.work.observed[AllocationId("j-1.1.1")].measured is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("frame", "caller"),
    [
        ({"job": "j-1", "attempt": 1, "number": 1}, "h-3"),
        ({"job": "j-1", "attempt": 1, "number": 2}, "h-1"),
        ({"job": "j-1", "attempt": 2, "number": 1}, "h-1"),
        ({"job": "j-2", "attempt": 1, "number": 1}, "h-1"),
    ],
)
def test_a_port_is_opened_only_for_the_partner_of_this_very_step(
    tmp_path: Path, frame: dict[str, Any], caller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.preflight.measure.ORDER_SECONDS", 0.05)

    async def scenario() -> None:
        async with two_hosts(tmp_path) as (one, two, three):
            two.work.want(wanted(1, Measurement(1, SECONDS, "127.0.0.1", one.member(0))))
            asking = {"h-1": one, "h-3": three}[caller]
            answer = await asking.peer.ask("h-2", "127.0.0.1", two.number, {"op": "measure", **frame})
            assert answer == {"reason": "host h-2 was not told to measure with this one"}

    asyncio.run(scenario())


def test_a_peer_that_is_gone_is_a_finding_with_a_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_hosts(tmp_path) as (one, two, _):
            member = two.member(1)
            await two.peer.close()
            one.work.want(wanted(0, Measurement(3, SECONDS, "127.0.0.1", member, calls=True)))
            found = await one.result(AllocationId("j-1.0.1"))
            assert (found.number, found.pair, found.problem) == (3, None, "connection refused")

    asyncio.run(scenario())


# ---------------------------------------------------------------- orders


def test_each_order_is_carried_out_once_and_given_up_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    made: list[int] = []
    given_up: list[int] = []

    async def measure(desired: Desired) -> Measured:
        assert desired.measures is not None
        number = desired.measures.number
        made.append(number)
        try:
            if number != 1:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(number)
            raise
        return Measured(number, "said")

    async def scenario() -> None:
        changed = asyncio.Event()
        work = work_in(tmp_path, measure, changed.set)
        key = AllocationId("j-1.0.1")

        async def until(holds: Callable[[], bool]) -> None:
            while not holds():
                changed.clear()
                await changed.wait()

        def order(number: int) -> Measurement:
            return Measurement(number, SECONDS)

        for _ in range(3):
            work.want(wanted(0, order(1)))
        await until(lambda: work.observed[key].measured is not None)
        assert [seen.measured for seen in work.unreported(9)] == [Measured(1, "said")]
        work.want(wanted(0, order(1)))
        work.want(wanted(0, order(2)))
        await asyncio.sleep(0)
        work.want(wanted(0, order(3)))
        await asyncio.sleep(0)
        assert (made, given_up) == ([1, 2, 3], [2])
        work.want(wanted(0, order(3), Wanted.STOPPED))
        await asyncio.sleep(0)
        assert (given_up, work.observed[key].phase) == ([2, 3], Phase.ENDED)
        await close(work)

    asyncio.run(scenario())


def test_a_fault_of_the_agents_own_is_an_answer_too(tmp_path: Path) -> None:
    async def measure(desired: Desired) -> Measured:
        raise PeerError("a bug")

    async def scenario() -> None:
        changed = asyncio.Event()
        work = work_in(tmp_path, measure, changed.set)
        work.want(wanted(0, Measurement(1, SECONDS)))
        key = AllocationId("j-1.0.1")
        while (found := work.observed[key].measured) is None:
            changed.clear()
            await changed.wait()
        assert found.problem == "it could not be measured: PeerError: a bug"
        await close(work)

    asyncio.run(scenario())
