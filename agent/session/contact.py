"""Keeps a session open: one stream for what is wanted, one report in flight for what is."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
from rallypoint.failpoints import reach
from rallypoint.systemd import notify

from agent.archive import FetchCut
from agent.logs import PublishFailed
from agent.session import convert
from agent.session.link import Answer, ContactLost, Introduction, Link, Report, StandsBy
from agent.session.outbox import Outbox
from agent.session.roundtrip import RoundTrip
from agent.spawner.wire import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from rallypoint.v1 import agent_service_pb2 as pb

    from agent.core.model import Distance, Member, Probe
    from agent.core.outflow import Position
    from agent.hardware import HardwareReport
    from agent.health.watch import HealthWatch
    from agent.logs import Chunk
    from agent.upgrade.trial import Order, Progress
    from agent.work import Work

log = structlog.get_logger()


SHORTEST_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """All in seconds. ``gather``: a start is told so much later, because the end of a short task may go with it.

    ``standby_backoff``: longest pause while a coordinator stands by, and so may take over at any moment.
    """

    gather: float = 0.04
    answer: float = 10.0
    report: float = 10.0
    first_backoff: float = 0.2
    longest_backoff: float = 5.0
    standby_backoff: float = 1.0
    goodbye: float = 2.0


def report_limit(times: SessionTimes, lease: float) -> float:
    """Seconds that a report waits for its answer. A short ``lease`` must leave time for a second try on a new link."""
    return max(SHORTEST_LIMIT, min(times.report, lease / 4))


class Owner(Protocol):
    """What the session needs from the daemon."""

    async def introduce(self) -> Introduction:
        """The host as it is now."""
        ...

    async def probe(self, members: Sequence[Member]) -> list[Probe]:
        """Try to reach these hosts."""
        ...

    async def measure(self, targets: Sequence[str]) -> list[Distance]:
        """See how far these are."""
        ...

    async def test(self, gpu_uuids: Sequence[str], number: int) -> None:
        """Test these GPUs for the coordinator; the answer is evidence."""
        ...

    def upgrade(self, order: Order) -> None:
        """Go over to this release."""
        ...

    def upgrade_told(self, progress: Progress) -> None:
        """The coordinator knows how far the upgrade is."""
        ...

    def connect(self, address: str) -> Link:
        """A new link with the certificate of the day."""
        ...

    def learn(self, coordinators: Sequence[str]) -> None:
        """Keep where coordinators answer, for the next start."""
        ...


REPORT_STATUSES = 1000
REPORT_EVIDENCE = 100
NO_SESSION = "no session is open"
HINT_AFTER = 5
HINT = "if the coordinator has moved, give its address for agents: agent run --coordinator HOST:PORT"


class Session:
    """Contact with whichever of ``addresses`` answers; ``run`` ends only by :class:`Refused` or cancellation."""

    def __init__(
        self,
        addresses: Sequence[str],
        owner: Owner,
        work: Work,
        health: HealthWatch,
        on_open: Callable[[], None],
        times: SessionTimes,
    ) -> None:
        self._addresses = list(addresses)
        self._owner = owner
        self._work = work
        self._health = health
        self._on_open = on_open
        self._times = times
        self._news = asyncio.Event()
        self._again = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._link: Link | None = None
        self._epoch = 0
        self._heartbeat = 5.0
        self._lease_grace = 10.0
        self._report_limit = times.report
        self._outbox = Outbox()
        self._round_trip = RoundTrip()
        self._answered = False
        self._probing: set[asyncio.Task[None]] = set()

    # --- what others use ------------------------------------------------------------------------------------------

    def wake(self, urgent: bool = True) -> None:
        """There is something to report: at once, or when it is not ``urgent`` a moment later."""
        if urgent:
            self._news.set()
        elif self._soon is None and not self._news.is_set():
            self._soon = asyncio.get_running_loop().call_later(self._times.gather, self._news.set)

    def tell_hardware(self, report: HardwareReport) -> None:
        """Send live values with the next report."""
        self._outbox.hardware = report

    def tell_upgrade(self, progress: Progress) -> None:
        """Say how far an upgrade is, with the next report and until one is answered."""
        self._outbox.upgrade = progress
        self.wake()

    def is_answered(self) -> bool:
        """Whether a session is open in which a report was answered."""
        return self._link is not None and self._answered

    async def publish(self, chunks: Sequence[Chunk]) -> list[Position]:
        """Send output. Raises PublishFailed."""
        if self._link is None:
            raise PublishFailed(NO_SESSION)
        reach("agent.before-publish")
        positions = await self._link.publish(chunks)
        reach("agent.after-publish")
        return positions

    def archive(self, sha256: str) -> AsyncIterator[bytes]:
        """An archive's bytes. Raises FetchCut, and ArchiveError when there is none."""
        return self._fetched(lambda link: link.archive(sha256))

    def wheel(self, sha256: str) -> AsyncIterator[bytes]:
        """A wheel's bytes. Raises FetchCut, and ArchiveError when there is none."""
        return self._fetched(lambda link: link.wheel(sha256))

    async def _fetched(self, fetch: Callable[[Link], AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
        try:
            async for data in fetch(self._open_link()):
                yield data
        except ContactLost as error:
            raise FetchCut(str(error)) from None

    async def renew(self, csr_pem: bytes) -> bytes:
        """A new certificate. Raises ContactLost."""
        return await self._open_link().renew(csr_pem)

    async def vacate(self, seconds: float, reason: str) -> None:
        """Ask for this host's own drain. Raises ContactLost."""
        await self._open_link().vacate(seconds, reason)

    async def leave(self, reason: str) -> None:
        """Leave the cluster: nothing runs here, nor will. Raises ContactLost."""
        await self._open_link().leave(reason, idle=True)

    def _open_link(self) -> Link:
        if self._link is None:
            raise ContactLost(NO_SESSION)
        return self._link

    def reconnect(self) -> None:
        """Leave the session that is open and open a new one, with the certificate that is on disk now."""
        self._again.set()

    # --- the session ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open sessions, one after the other, until cancelled.

        Raises:
            Refused: the coordinator wants no contact with this host.
        """
        failures, turn = 0, 0
        while True:
            address = self._addresses[turn % len(self._addresses)]
            opened, longest = asyncio.Event(), self._times.longest_backoff
            try:
                await self._one_session(address, opened)
            except ContactLost as error:
                failures, turn = (1 if opened.is_set() else failures + 1), turn + 1
                hint = {"hint": HINT} if failures >= HINT_AFTER else {}
                log.warning("session.lost", coordinator=address, reason=str(error), **hint)
                notify(f"STATUS=out of contact with the coordinator at {address}: {' '.join(str(error).split())}")
                if isinstance(error, StandsBy):
                    longest = self._times.standby_backoff
                    self._add([error.leader] if error.leader else [])
            longest = min(longest, self._times.first_backoff * 2 ** min(failures, 10))
            await asyncio.sleep(longest * random.uniform(0.3, 1.0))

    def _add(self, coordinators: Sequence[str]) -> None:
        """Know these addresses, too; those that were given stay, because they may lead through a tunnel."""
        self._addresses += [address for address in dict.fromkeys(coordinators) if address not in self._addresses]

    async def _one_session(self, address: str, opened: asyncio.Event) -> None:
        """Ends with the first failure of stream or reports: a dead link may hold a stream open for long."""
        intro = await self._owner.introduce()
        self._again.clear()
        self._answered = False
        link = self._owner.connect(address)
        parts = [
            asyncio.create_task(self._follow(link, intro, opened)),
            asyncio.create_task(self._report_on(link, opened)),
            asyncio.create_task(self._until_again()),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            self._link = None
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await link.close()

    async def _until_again(self) -> None:
        await self._again.wait()
        raise ContactLost("left for a new one")

    async def _follow(self, link: Link, intro: Introduction, opened: asyncio.Event) -> None:
        sent_at = now()
        async for message in link.open(intro):
            if message.HasField("welcome"):
                self._welcome(link, message.welcome, sent_at)
                opened.set()
            elif message.HasField("desired"):
                reach("agent.before-desired")
                self._work.want(convert.desired_update(message.desired))
                reach("agent.after-desired")
            elif message.HasField("probe"):
                self._probe(convert.members(message.probe.targets))
            elif message.HasField("measure"):
                self._measure(tuple(message.measure.targets))
            elif message.HasField("test"):
                self._look_around(self._owner.test(tuple(message.test.gpu_uuids), message.test.number))
            elif message.HasField("upgrade"):
                self._owner.upgrade(convert.upgrade_order(message.upgrade))
        raise ContactLost("the coordinator ended the session")

    def _welcome(self, link: Link, welcome: pb.Welcome, sent_at: float) -> None:
        self._epoch = welcome.epoch
        self._heartbeat = max(0.05, welcome.heartbeat_seconds)
        self._lease_grace = welcome.lease_grace_seconds
        self._report_limit = report_limit(self._times, welcome.lease_seconds)
        # From the first order on: what a host begins before its first report must be fenced too.
        self._work.begin(sent_at, welcome.lease_seconds, self._lease_grace)
        self._health.opened(welcome.health_sequence)
        self._link = link
        log.info("session.open", coordinator=link.address, epoch=welcome.epoch, host=welcome.host_name)
        if welcome.drained:
            log.warning("session.drained", reason=welcome.drained, hint="no new work comes; what runs goes on")
        self._on_open()

    def _probe(self, targets: Sequence[Member]) -> None:
        async def probe() -> None:
            self._outbox.probes += await self._owner.probe(targets)
            self.wake()

        self._look_around(probe())

    def _measure(self, targets: Sequence[str]) -> None:
        async def measure() -> None:
            self._outbox.distances += await self._owner.measure(targets)
            self.wake()

        self._look_around(measure())

    def _look_around(self, looking: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(looking)
        self._probing.add(task)
        task.add_done_callback(self._probing.discard)

    # --- reports --------------------------------------------------------------------------------------------------

    async def _report_on(self, link: Link, opened: asyncio.Event) -> None:
        """One report at a time, at once when there is news and else at each heartbeat. Raises ContactLost, Refused."""
        try:
            async with asyncio.timeout(self._times.answer):
                await opened.wait()
        except TimeoutError:
            raise ContactLost(f"no answer within {self._times.answer:g} s") from None
        await self._report(link, complete=True)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat * random.uniform(0.85, 1.0)):
                    await self._news.wait()
            await self._report(link, complete=False)

    async def _report(self, link: Link, complete: bool) -> None:
        self._news.clear()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        statuses = self._work.everything() if complete else self._work.unreported(REPORT_STATUSES)
        letter = self._outbox.take()
        evidence = self._health.unreported(REPORT_EVIDENCE)
        reach("agent.before-report")
        sent_at = now()
        report = Report(
            self._epoch,
            complete,
            statuses,
            letter.probes,
            letter.hardware,
            distances=letter.distances,
            round_trip=self._round_trip.seconds,
            evidence=evidence,
            upgrade=letter.upgrade,
        )
        try:
            answer = await link.report(report, self._report_limit)
        except ContactLost:
            self._outbox.put_back(letter)
            raise
        if letter.empty and not (statuses or evidence):
            self._round_trip.took(now() - sent_at)
        reach("agent.after-report")
        self._answered = True
        self._outbox.answered(letter)
        if letter.upgrade is not None:
            self._owner.upgrade_told(letter.upgrade)
        self._heed(answer, sent_at)
        self._work.acknowledge(statuses)
        self._health.acknowledge(answer.evidence)
        reach("agent.after-acknowledge")
        if self._outbox.is_due or (evidence and self._has_newer(answer.evidence)):
            self.wake()
        elif self._work.unreported(1):
            self.wake(self._work.urgent())

    def _heed(self, answer: Answer, sent_at: float) -> None:
        """What a coordinator says with every answer. Raises ContactLost."""
        self._add(answer.coordinators)
        self._owner.learn(answer.coordinators)
        if not self._work.renew(sent_at, answer.lease, self._lease_grace):
            raise ContactLost("the lease ended before a report was answered")

    def _has_newer(self, acknowledged: int) -> bool:
        """Whether there is evidence left after an answer that took some; one that took none is not asked at once."""
        return acknowledged > 0 and bool(self._health.unreported(1))

    async def goodbye(self) -> None:
        """Say that the agent leaves on purpose; a coordinator that does not answer is not waited for."""
        link = self._link
        if link is None:
            return
        report = Report(self._epoch, False, self._work.unreported(REPORT_STATUSES), goodbye=True)
        with contextlib.suppress(Exception):
            # Whatever goes wrong with a farewell, the agent leaves: its lease says the same a little later.
            await link.report(report, self._times.goodbye)
