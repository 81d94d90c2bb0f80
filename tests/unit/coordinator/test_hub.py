"""What waits to go down a session: orders at once, probes gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coordinator.core.ids import HostId, allocation_id, host_id, job_id
from coordinator.core.model import Host, HostFacts
from coordinator.rpc.hub import Hub, Orders

HELD = allocation_id(job_id(1), 0, 1)


def host(number: int) -> Host:
    return Host(host_id(number), f"host{number}", HostFacts(), joined_at=0.0)


class Clock:
    """Calls what is due when it is told to."""

    def __init__(self) -> None:
        self.planned: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.planned.append((seconds, call))

    def ring(self) -> None:
        for _, call in self.planned:
            call()
        self.planned.clear()


def test_many_hosts_that_come_at_once_are_probed_by_one_order_and_hold_up_no_other() -> None:
    async def scenario() -> None:
        clock = Clock()
        hub = Hub(clock.later)
        first = hub.open(host_id(1), 1, [])
        for number in range(2, 500):
            hub.open(host_id(number), 1, [])
            hub.probe(host_id(1), (host(number),))
        assert len(clock.planned) == 1
        hub.desired(host_id(1), HELD, None)
        assert (await first.take()).desired == {HELD: None}
        clock.ring()
        taken = await first.take()
        assert taken.desired == {}
        assert [target.id for target in taken.probes] == [HostId(f"h-{number}") for number in range(2, 500)]

    asyncio.run(scenario())


def test_few_hosts_hardly_wait_for_their_probes_and_many_not_for_long() -> None:
    async def scenario() -> None:
        for sessions, longest in ((2, 0.1), (5000, 10.0)):
            clock = Clock()
            hub = Hub(clock.later)
            for number in range(1, sessions + 1):
                hub.open(host_id(number), 1, [])
            hub.probe(host_id(1), (host(2),))
            ((seconds, _),) = clock.planned
            assert seconds <= longest

    asyncio.run(scenario())


def test_what_a_host_shall_probe_before_its_session_is_open_waits_for_it() -> None:
    async def scenario() -> None:
        clock = Clock()
        hub = Hub(clock.later)
        hub.probe(host_id(1), (host(2),))
        session = hub.open(host_id(1), 1, [])
        session.begin()
        assert await session.take() == Orders({}, [], []), "the first orders do not wait for probes"
        clock.ring()
        assert [target.id for target in (await session.take())[1]] == [host_id(2)]

    asyncio.run(scenario())


def test_what_a_host_shall_measure_goes_down_at_once_and_only_once() -> None:
    async def scenario() -> None:
        hub = Hub(Clock().later)
        hub.measure(host_id(1), ("a", "b"))
        session = hub.open(host_id(1), 1, [])
        assert (await session.take()).targets == ["a", "b"], "an order from before the session was lost"
        hub.measure(host_id(1), ("c",))
        hub.measure(host_id(1), ("c",))
        assert (await session.take()).targets == ["c"]

    asyncio.run(scenario())
