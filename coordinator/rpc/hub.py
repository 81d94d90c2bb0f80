"""The open sessions of agents, and what is still to be sent on each. Nothing here blocks, nothing is lost silently:
a session whose agent does not read is closed, and a new one begins with the complete desired state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from coordinator.core.desired import Desired
from coordinator.core.effects import TestWanted
from coordinator.core.ids import AllocationId, HostId
from coordinator.core.model import Host
from coordinator.core.upgrades import UpgradeOrder

log = structlog.get_logger(__name__)

# Orders to probe are gathered, for so many seconds for each open session, but no longer than the second. When many come
# back at once, each is told of all of them in a few orders: one by one, N hosts would make N² orders and reports. And
# what hosts run is heard of first, before who reaches whom.
_GATHER_A_SESSION = 0.02
_LONGEST_GATHER = 10.0


Later = Callable[[float, Callable[[], None]], object]


def _later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)


class Orders(NamedTuple):
    """What is to be sent: desired allocations (None: gone), hosts to probe, targets to measure the distance to,
    whether to upgrade, and tests of GPUs."""

    desired: dict[AllocationId, Desired | None]
    probes: list[Host]
    targets: list[str]
    upgrade: UpgradeOrder | None = None
    tests: Sequence[TestWanted] = ()


class Session:
    """One contact of an agent: orders wait here until its stream takes them. A newer order replaces an older one."""

    def __init__(self, later: Later, epoch: int, instance: str = "", where: str = "") -> None:
        self._later = later
        self.epoch = epoch
        self.instance = instance
        self.where = where
        self.closed = False
        self.complete = True
        self._orders: dict[AllocationId, Desired | None] = {}
        self._probes: dict[HostId, Host] = {}
        self._targets: dict[str, None] = {}
        self._upgrade: UpgradeOrder | None = None
        self._tests: dict[int, TestWanted] = {}
        self._wake = asyncio.Event()
        self._gathering = False

    def order(self, allocation_id: AllocationId, desired: Desired | None) -> None:
        """Put an order; None tells that the allocation is gone."""
        self._orders[allocation_id] = desired
        self._wake.set()

    def probe(self, targets: Iterable[Host], within: float = 0.0) -> None:
        """Put an order to probe, which goes down with others ``within`` so many seconds."""
        self._probes.update((host.id, host) for host in targets)
        if self._probes and not self._gathering:
            self._gathering = True
            self._later(within, self._gathered)

    def measure(self, targets: Iterable[str]) -> None:
        """Put an order to measure how far these are."""
        self._targets.update(dict.fromkeys(targets))
        if self._targets:
            self._wake.set()

    def upgrade(self, order: UpgradeOrder) -> None:
        """Put an order to upgrade."""
        self._upgrade = order
        self._wake.set()

    def test(self, order: TestWanted) -> None:
        """Put an order to test GPUs."""
        self._tests[order.number] = order
        self._wake.set()

    def _gathered(self) -> None:
        self._gathering = False
        self._wake.set()

    def begin(self) -> None:
        """Have the first orders taken, even if there are none."""
        self._wake.set()

    def close(self) -> None:
        """End the stream once what waits has been looked at."""
        self.closed = True
        self._wake.set()

    async def take(self) -> Orders:
        """Orders that wait, and probes that are due, as soon as there are any or the session is closed."""
        await self._wake.wait()
        self._wake.clear()
        orders, self._orders = self._orders, {}
        targets, self._targets = list(self._targets), {}
        upgrade, self._upgrade = self._upgrade, None
        tests, self._tests = tuple(self._tests.values()), {}
        if self._gathering:
            return Orders(orders, [], targets, upgrade, tests)
        probes, self._probes = list(self._probes.values()), {}
        return Orders(orders, probes, targets, upgrade, tests)


class Hub:
    """Where the engine's orders to agents go: at most one open session a host."""

    def __init__(self, later: Later | None = None) -> None:
        """``later`` calls something after so many seconds; by default the running event loop does."""
        self._later = later or _later
        self._sessions: dict[HostId, Session] = {}
        self._early_probes: dict[HostId, dict[HostId, Host]] = {}
        self._early_targets: dict[HostId, dict[str, None]] = {}

    def open(
        self,
        host_id: HostId,
        epoch: int,
        orders: Iterable[tuple[AllocationId, Desired]],
        instance: str = "",
        where: str = "",
    ) -> Session:
        """Begin the session of ``epoch`` with the complete desired state; an older one ends.

        Called between two turns of the engine, so that no order falls between the state and the session.
        """
        older = self._sessions.get(host_id)
        session = Session(self._later, epoch, instance, where)
        if older is not None:
            if older.epoch > epoch:
                session.close()
                return session
            older.close()
        self._sessions[host_id] = session
        for allocation_id, desired in orders:
            session.order(allocation_id, desired)
        session.probe(self._early_probes.pop(host_id, {}).values(), self._gathering())
        session.measure(self._early_targets.pop(host_id, {}))
        return session

    def leave(self, host_id: HostId, session: Session) -> None:
        """The stream of this session is gone."""
        session.closed = True
        if self._sessions.get(host_id) is session:
            del self._sessions[host_id]

    def session(self, host_id: HostId) -> Session | None:
        """The host's open session, if it has one."""
        return self._sessions.get(host_id)

    # ------------------------------------------------------------ from the engine

    def desired(self, host_id: HostId, allocation_id: AllocationId, desired: Desired | None) -> None:
        """Pass an order on; without a session it is dropped, because the next one begins with everything."""
        session = self._sessions.get(host_id)
        if session is not None:
            session.order(allocation_id, desired)

    def probe(self, host_id: HostId, targets: tuple[Host, ...]) -> None:
        """Pass an order to probe on; the first ones come before the session is open, and wait for it."""
        session = self._sessions.get(host_id)
        if session is not None:
            session.probe(targets, self._gathering())
        else:
            self._early_probes.setdefault(host_id, {}).update((host.id, host) for host in targets)

    def measure(self, host_id: HostId, targets: tuple[str, ...]) -> None:
        """Pass an order to measure on; the first ones come before the session is open, and wait for it."""
        session = self._sessions.get(host_id)
        if session is not None:
            session.measure(targets)
        else:
            self._early_targets.setdefault(host_id, {}).update(dict.fromkeys(targets))

    def upgrade(self, host_id: HostId, order: UpgradeOrder) -> None:
        """Pass an order to upgrade on; without a session it is dropped, because the next one begins with it."""
        session = self._sessions.get(host_id)
        if session is not None:
            session.upgrade(order)

    def test(self, order: TestWanted) -> None:
        """Pass an order to test GPUs on; without a session it is dropped, because the next one begins with it."""
        session = self._sessions.get(order.host_id)
        if session is not None:
            session.test(order)

    def _gathering(self) -> float:
        return min(_LONGEST_GATHER, _GATHER_A_SESSION * len(self._sessions))

    def supersede(self, host_id: HostId, epoch: int | None) -> None:
        """Close the host's session if it is older than ``epoch``, or in any case for None."""
        session = self._sessions.get(host_id)
        if session is not None and (epoch is None or session.epoch < epoch):
            log.info("session.superseded", host=host_id, epoch=session.epoch)
            session.close()

    def reset(self) -> None:
        """Close every session."""
        for session in self._sessions.values():
            session.close()
