"""The engine: what is answered is stored, and what could not be stored was never promised to anyone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import (
    AllocationStatus,
    HostJoined,
    HostReported,
    JobSubmitted,
    RemovalRequested,
    SessionOpened,
)
from coordinator.core.ids import AllocationId, host_id
from coordinator.core.leases import lease_deadline
from coordinator.core.model import EndCause, Host, HostFacts, HostState, Job, JobState, PeerEndpoint, Phase
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.state import State, Timing
from coordinator.engine import Engine, EngineFailed, EngineFull
from coordinator.rpc.hub import Hub
from coordinator.store import Loaded, Store, StoredChange, StoreFull
from tests.fakes.memory_store import MemoryDisk, MemoryStore
from tests.fakes.world import hardware

ANY = JobSpec(argv=("true",), placement=Placement.ANY, nodes=3, name="work")


class Flaky:
    """A store whose disk is full while ``full`` is set; it counts what was committed."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.full = False
        self.commits = 0

    def load(self) -> Loaded:
        return self.inner.load()

    def commit(self, changes: Sequence[StoredChange]) -> None:
        if self.full:
            raise StoreFull("no space is left on the disk of the database")
        self.inner.commit(changes)
        self.commits += 1

    def close(self) -> None:
        self.inner.close()


def with_engine(test: Callable[[Engine, Hub, Flaky], Awaitable[None]], disk: MemoryDisk | None = None) -> None:
    async def scenario() -> None:
        store, hub = Flaky(MemoryStore(disk or MemoryDisk())), Hub()
        with ThreadPoolExecutor(max_workers=1) as writer:
            engine = Engine(store, Timing(), hub, lambda job: None, writer)
            await engine.load()
            running = asyncio.create_task(engine.run())
            try:
                await test(engine, hub, store)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                store.close()

    asyncio.run(scenario())


async def join(engine: Engine, name: str = "one") -> Host:
    host: Host = await engine.post(HostJoined(name, HostFacts(), "machine"))
    opened: Host = await engine.post(
        SessionOpened(host.id, HostFacts(), hardware(prefix=name), PeerEndpoint(("10.0.0.1",), 7000), "test")
    )
    return opened


def jobs_of(state: State) -> list[JobState]:
    return [job.state for job in state.jobs.values()]


def test_what_is_answered_outlives_the_engine() -> None:
    disk = MemoryDisk()

    async def first(engine: Engine, hub: Hub, store: Flaky) -> None:
        await join(engine)
        await engine.post(JobSubmitted(ANY, "ann", "r1"))

    async def second(engine: Engine, hub: Hub, store: Flaky) -> None:
        again: Job = await engine.post(JobSubmitted(ANY, "ann", "r1"))
        assert again.id == "j-1"
        assert await engine.read(lambda state: len(state.allocations)) == 3

    with_engine(first, disk)
    with_engine(second, disk)


def test_a_full_disk_refuses_and_changes_nothing_and_heals() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        store.full = True
        with pytest.raises(EngineFailed, match="no space is left"):
            await engine.post(JobSubmitted(ANY, "ann", "r1"))
        assert await engine.read(jobs_of) == []
        store.full = False
        job: Job = await engine.post(JobSubmitted(ANY, "ann", "r1"))
        assert job.id == "j-1"

    with_engine(test)


def test_what_is_refused_for_a_change_that_could_not_be_stored_is_not_said_to_be_so() -> None:
    """A removal and its repeat in one turn: "there is no such host" is true only once the first is on disk."""

    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        host = await join(engine)
        store.full = True
        calls = [engine.post(RemovalRequested(host.id)) for _ in range(2)]
        assert [type(answer) for answer in await asyncio.gather(*calls, return_exceptions=True)] == [EngineFull] * 2
        store.full = False
        calls = [engine.post(RemovalRequested(host.id)) for _ in range(2)]
        removed, repeated = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(removed, Host)
        assert isinstance(repeated, NotFound)

    with_engine(test)


def test_events_that_come_together_are_one_commit() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        specs = [JobSpec(argv=("true",), name=f"job{i}") for i in range(50)]
        before = store.commits
        await asyncio.gather(*(engine.post(JobSubmitted(spec, "ann", spec.name or "")) for spec in specs))
        assert store.commits <= before + 2

    with_engine(test)


def test_a_refusal_answers_its_caller_and_nobody_else() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        results = await asyncio.gather(
            engine.post(JobSubmitted(ANY, "ann", "r1")),
            engine.post(JobSubmitted(ANY, "bob", "r2")),
            engine.post(JobSubmitted(JobSpec(argv=("true",)), "bob", "r3")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [Job, Conflict, Job]

    with_engine(test)


def test_orders_go_out_after_the_commit_and_a_new_session_gets_them_all() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        host = await join(engine)
        session = hub.open(host.id, host.epoch, ())
        await engine.post(JobSubmitted(ANY, "ann", "r1"))
        committed = store.commits
        orders, *_ = await session.take()
        assert sorted(orders) == ["j-1.0.1", "j-1.1.1", "j-1.2.1"]
        assert store.commits == committed
        older = hub.open(host.id, host.epoch - 1, ())
        assert older.closed
        assert not session.closed

    with_engine(test)


def test_a_failed_commit_leaves_sessions_and_leases_as_they_were() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        host = await join(engine)
        session = hub.open(host.id, host.epoch, ())
        await engine.post(JobSubmitted(ANY, "ann", "r1"))
        store.full = True
        ended = AllocationStatus(AllocationId("j-1.0.1"), Phase.ENDED, 0, EndCause.EXIT)
        with pytest.raises(EngineFailed):
            await engine.post(HostReported(host.id, host.epoch, (ended,)))
        assert await engine.post(HostReported(host.id, host.epoch)) == 30.0, "heartbeats need no disk"
        assert not session.closed
        assert await engine.read(lambda state: state.hosts[host.id].state) is HostState.ONLINE
        assert await engine.read(lambda state: len(state.allocations)) == 3
        store.full = False
        await engine.post(HostReported(host.id, host.epoch, (ended,)))
        assert await engine.read(lambda state: len(state.allocations)) == 2

    with_engine(test)


def test_waiting_for_a_version_wakes_on_the_next_change() -> None:
    async def test(engine: Engine, hub: Hub, store: Flaky) -> None:
        seen = await engine.read(lambda state: state.version)
        waiting = asyncio.create_task(engine.next_version(seen))
        await engine.post(JobSubmitted(ANY, "ann", "r1"))
        assert await waiting > seen

    with_engine(test)


def test_a_stopping_engine_answers_those_who_wait() -> None:
    async def scenario() -> None:
        with ThreadPoolExecutor(max_workers=1) as writer:
            engine = Engine(MemoryStore(MemoryDisk()), Timing(), Hub(), lambda job: None, writer)
            await engine.load()
            running = asyncio.create_task(engine.run())
            posting = asyncio.create_task(engine.post(JobSubmitted(ANY, "ann", "r1")))
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            result = (await asyncio.gather(posting, return_exceptions=True))[0]
            assert isinstance(result, Job | EngineFailed)

    asyncio.run(scenario())


def test_a_successor_waits_longer_by_what_its_predecessor_may_still_renew() -> None:
    disk = MemoryDisk()

    async def leave_a_host(engine: Engine, hub: Hub, store: Flaky) -> None:
        await join(engine)

    with_engine(leave_a_host, disk)

    async def lease(predecessor: float) -> float:
        with ThreadPoolExecutor(max_workers=1) as writer:
            engine = Engine(MemoryStore(disk), Timing(), Hub(), lambda job: None, writer)
            began = time.monotonic()
            await engine.load(predecessor)
            running = asyncio.create_task(engine.run())
            deadlines = await engine.read(lambda state: dict(state.deadlines))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return deadlines[lease_deadline(host_id(1))] - began

    alone, after = asyncio.run(lease(0.0)), asyncio.run(lease(30.0))
    assert 29 < after - alone < 31


def started(disk: MemoryDisk, timing: Timing, test: Callable[[Engine], Awaitable[None]]) -> None:
    """Start on ``disk`` with ``timing``, run ``test``, and end as a crash would."""

    async def scenario() -> None:
        with ThreadPoolExecutor(max_workers=1) as writer:
            engine = Engine(MemoryStore(disk), timing, Hub(), lambda job: None, writer)
            await engine.load()
            running = asyncio.create_task(engine.run())
            try:
                await test(engine)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


async def first_deadline(engine: Engine) -> float:
    deadlines = await engine.read(lambda state: dict(state.deadlines))
    return deadlines[lease_deadline(host_id(1))] - time.monotonic()


def test_shorter_leases_after_a_start_do_not_cut_those_short_that_were_given_before() -> None:
    disk, long, short = MemoryDisk(), Timing(lease=300.0), Timing()

    async def leave_a_host(engine: Engine) -> None:
        await join(engine)

    async def look(engine: Engine) -> None:
        assert await first_deadline(engine) > long.lost - 5
        # Nor for a host that calls again, and is cut off before it heard of its shorter lease.
        assert await engine.read(lambda state: state.timing.lost) >= long.lost
        assert await engine.read(lambda state: state.timing.lease) == short.lease

    started(disk, long, leave_a_host)
    started(disk, short, look)
    # The first start with the shorter one ended before the old ones had.
    started(disk, short, look)


def test_once_the_earlier_leases_are_over_the_shorter_ones_count() -> None:
    disk, long = MemoryDisk(), Timing(lease=0.9, lease_grace=0.0, lease_margin=2.05)
    short = Timing(lease=0.01, lease_grace=0.0, lease_margin=0.01)

    async def nothing(engine: Engine) -> None:
        await join(engine)

    async def wait(engine: Engine) -> None:
        async with asyncio.timeout(10):
            while await engine.read(lambda state: state.timing) != short:
                await engine.commit()
        assert time.monotonic() >= began + long.lost

    started(disk, long, nothing)
    # Whole seconds are stored, at least what may run.
    assert disk.lease >= long.lost
    began = time.monotonic()
    started(disk, short, wait)
    assert disk.lease == 1
