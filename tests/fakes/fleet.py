"""Many agents in one process: real sessions over real mutual TLS, each with a work that runs nothing.

As a program it plays the hosts h-1 to h-N of a data directory, whose CA signs their certificates:

    python -m tests.fakes.fleet DATA_DIR AGENT_ADDRESS N

What a host is told to run "runs" until it is told otherwise. Orders come on standard input, a line each; ``watch`` is
answered on standard output once the first report of a new session is acknowledged for every host (new since the last
``watch`` was answered), ``end CODE`` (all that runs exits with this code) once all hosts' reports of it are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rallypoint import console
from rallypoint.tls import prepare_grpc

prepare_grpc()

from agent.core.model import (  # noqa: E402
    AllocationId,
    Cause,
    Desired,
    DesiredUpdate,
    Distance,
    Member,
    Observed,
    Phase,
    Probe,
    Wanted,
)
from agent.credentials import make_key_and_csr  # noqa: E402
from agent.facts import HostFacts  # noqa: E402
from agent.hardware import HardwareReport  # noqa: E402
from agent.health.ledger import Ledger  # noqa: E402
from agent.health.watch import HealthWatch  # noqa: E402
from agent.identity import Pems  # noqa: E402
from agent.session import Introduction, Link, Session, SessionTimes  # noqa: E402
from agent.upgrade.trial import Order, Progress  # noqa: E402
from coordinator.access import ca  # noqa: E402

CERTIFICATE_LIFE = 86_400.0
GIB = 1 << 30
PEER_PORT = 7433


class FleetWork:
    """The part of ``agent.work.Work`` that a session needs, over processes that are only claimed."""

    def __init__(self, moved: Callable[[], None]) -> None:
        self.observed: dict[AllocationId, Observed] = {}
        self.back = False
        self.wake: Callable[[], None] = lambda: None
        self._unreported: dict[AllocationId, None] = {}
        self._moved = moved
        self._began = False

    def want(self, update: DesiredUpdate) -> None:
        """Run what is wanted, end what is to stop, forget what is not wanted any more."""
        known = {order.id for order in update.allocations}
        gone = [key for key in self.observed if key not in known] if update.complete else update.removed
        for key in gone:
            self.observed.pop(key, None)
            self._unreported.pop(key, None)
        for order in update.allocations:
            self._step(order)
        if self._unreported:
            self.wake()

    def _step(self, order: Desired) -> None:
        have = self.observed.get(order.id)
        if order.phase is Wanted.STOPPED and (have is None or have.phase is not Phase.ENDED):
            self._observe(Observed(order.id, Phase.ENDED, cause=Cause.STOPPED, ended_at=time.time(), log_done=True))
        elif have is None:
            self._observe(Observed(order.id, Phase.RUNNING, started_at=time.time()))

    def end(self, code: int) -> None:
        """All that runs exits."""
        for seen in tuple(self.observed.values()):
            if seen.phase is Phase.RUNNING:
                self._observe(replace(seen, phase=Phase.ENDED, cause=Cause.EXIT, exit_code=code, ended_at=time.time()))
        self.wake()

    def _observe(self, seen: Observed) -> None:
        self.observed[seen.id] = seen
        self._unreported[seen.id] = None

    def running(self) -> int:
        """How many allocations claim to run."""
        return sum(seen.phase is Phase.RUNNING for seen in self.observed.values())

    @property
    def told(self) -> bool:
        """Whether the coordinator has all there is."""
        return not self._unreported

    def begin(self, sent_at: float, seconds: float, grace: float) -> None:
        """A session was opened."""
        self._began = True

    def renew(self, sent_at: float, seconds: float, grace: float) -> bool:
        """A report was answered; nothing runs that a lease could stop."""
        return True

    def unreported(self, limit: int) -> list[Observed]:
        """What the coordinator does not have."""
        return [self.observed[key] for key in list(self._unreported)[:limit]]

    def urgent(self) -> bool:
        """Everything is."""
        return True

    def everything(self) -> list[Observed]:
        """For the first report of a session."""
        return list(self.observed.values())

    def acknowledge(self, reported: Iterable[Observed]) -> None:
        """The coordinator has these."""
        for seen in reported:
            if self.observed.get(seen.id) == seen:
                self._unreported.pop(seen.id, None)
        self.back = self._began
        self._moved()

    def watch(self) -> None:
        """Only a session from now on counts as being back."""
        self.back = self._began = False


class FleetHost:
    """One host, as a session sees the daemon that owns it."""

    def __init__(self, host_id: str, pems: Pems, moved: Callable[[], None]) -> None:
        self.id = host_id
        self.work = FleetWork(moved)
        self._pems = pems

    async def introduce(self) -> Introduction:
        """A plain host with room for all it is given."""
        hardware = HardwareReport(
            hostname=self.id,
            arch="x86_64",
            os="Debian",
            kernel="6.1",
            boot_id=self.id,
            machine_id=self.id,
            cpu_model="fake",
            cpu_count=1000,
            memory_bytes=1000 * GIB,
            memory_available_bytes=1000 * GIB,
            disks=(),
            interfaces=(),
            rdma=(),
            gpus=(),
            driver_version=None,
            cuda_version=None,
            gpu_problem=None,
        )
        return Introduction(self.id, hardware, HostFacts(backend="fleet"), ("127.0.0.1",), PEER_PORT)

    async def probe(self, members: Sequence[Member]) -> list[Probe]:
        """All of them are reached, as in one large room."""
        return [Probe(member.host_id, member.addresses[0], member.port, reached=True) for member in members]

    async def measure(self, targets: Sequence[str]) -> list[Distance]:
        """All of them are next door."""
        return [Distance(target, 0.001) for target in targets]

    async def test(self, gpu_uuids: Sequence[str], number: int) -> None:
        """They have no GPU to test."""

    def upgrade(self, order: Order) -> None:
        """They stay as they are."""

    def upgrade_told(self, progress: Progress) -> None:
        """They never tell anything."""

    def learn(self, coordinators: Sequence[str]) -> None:
        """These hosts are never started again."""

    def connect(self, address: str) -> Link:
        """A link with the host's certificate."""
        return Link(address, self._pems)


class Fleet:
    """All hosts. ``watch`` and ``end`` wait for what they say."""

    def __init__(self, authority: ca.Authority, address: str, count: int, folder: Path) -> None:
        new, now = make_key_and_csr(), time.time()
        self._changed = asyncio.Event()
        self.hosts: list[FleetHost] = []
        self._sessions: list[Session] = []
        for number in range(1, count + 1):
            # One key for all of them: the certificate says who a host is, and keys take long to make.
            name = f"h-{number}"
            certificate = authority.sign_host_csr(new.csr_pem, name, name, now, CERTIFICATE_LIFE)
            host = FleetHost(name, Pems(authority.certificate_pem, new.key_pem, certificate), self._changed.set)
            ledger = Ledger(folder / name, now, now)
            health = HealthWatch(ledger, lambda: None, lambda: None)
            session = Session([address], host, host.work, health, lambda: None, SessionTimes())  # type: ignore[arg-type]
            host.work.wake = session.wake
            self.hosts.append(host)
            self._sessions.append(session)

    async def run(self) -> None:
        """Keep all sessions open until cancelled."""
        async with asyncio.TaskGroup() as group:
            for session in self._sessions:
                group.create_task(session.run())

    async def watch(self) -> None:
        """Until every host is in contact anew."""
        await self._until(lambda work: work.back)
        for host in self.hosts:
            host.work.watch()

    async def end(self, code: int) -> None:
        """End all that runs, until all of it is acknowledged."""
        for host in self.hosts:
            host.work.end(code)
        await self._until(lambda work: work.told)

    async def _until(self, reached: Callable[[FleetWork], bool]) -> None:
        behind = [host.work for host in self.hosts]
        while behind := [work for work in behind if not reached(work)]:
            self._changed.clear()
            await self._changed.wait()


async def play(data_dir: Path, address: str, count: int) -> None:
    """Play the hosts until standard input ends."""
    fleet = Fleet(ca.load_or_create(data_dir / "ca", time.time()), address, count, data_dir / "no-ledgers")
    running = asyncio.create_task(fleet.run())
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        order, *rest = line.decode().split()
        await (fleet.end(int(rest[0])) if order == "end" else fleet.watch())
        claimed = sum(host.work.running() for host in fleet.hosts)
        print(json.dumps({"order": order, "at": time.monotonic(), "claimed": claimed}), flush=True)
    running.cancel()


if __name__ == "__main__":
    console.configure("warning")
    asyncio.run(play(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
