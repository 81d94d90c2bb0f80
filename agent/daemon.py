"""`agent run`: makes all parts of an agent, wires them, and keeps them going until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from rallypoint.systemd import notify, watchdog_seconds
from rallypoint.tls import PeerIdentity

from agent import environ
from agent.archive import ArchiveCache
from agent.bounds import Bounds, default_pids
from agent.check.order import carry_out
from agent.closed import write_line
from agent.core.outflow import Limits
from agent.departure import Departure, Left, is_leaving, unmark_leaving
from agent.disks import Disks
from agent.distances import Meter
from agent.ending import Ending, either, first_of
from agent.endpoint import peer_addresses
from agent.hardware import NvmlProbe
from agent.hardware_now import FRESH_SECONDS, HardwareNow
from agent.health.station import Station
from agent.identity import load_identity, load_pems, needs_renewal, save_record
from agent.interruption import Watcher
from agent.lock import StateLock
from agent.logs import LogPublisher
from agent.mpi import Launcher, write_launcher
from agent.nodes import NodeMaker
from agent.peer import PeerPort
from agent.places import Places
from agent.ports import PortKeeper
from agent.preflight import Preflight
from agent.renewal import RenewalFailed, renewal_request, renewal_result
from agent.restarting import restarted
from agent.runner import Runner
from agent.session import ContactLost, Introduction, Link, Refused, Session, SessionTimes
from agent.spawner.wire import NO_CGROUPS
from agent.statedir import check_state_dir, make_state_dir, unusable
from agent.supervisor.standing import IN_CONTACT
from agent.surroundings import Surroundings
from agent.upgrade.upgrader import Upgrader
from agent.users import HostUsers, check_passable, users_of
from agent.work import Tools, Work

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from agent.config import Settings
    from agent.core.model import Distance, Member, Probe
    from agent.identity import Identity
    from agent.spawner.wire import Message
    from agent.upgrade.trial import Order, Progress

log = structlog.get_logger()

DISK_SECONDS = 2.0
RENEWAL_LOOK_SECONDS = 60.0
PRUNE_SECONDS = 3600.0
STOP_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the daemon ended: ``refused`` holds the coordinator's reason if it wants no contact with this host."""

    refused: str = ""


def run(settings: Settings) -> Outcome:
    """Be the agent until SIGTERM, SIGINT or SIGHUP (to be started again), or until the coordinator removes this host.

    Raises:
        AlreadyRunning: another agent uses the state directory.
        StateDirUnsafe, StateDirUnusable: the state directory can't be trusted, or written.
        NotJoined, IdentityDamaged: the host has no usable identity.
        PeerError: the peer port can't be listened on.
        SpawnerFailed: the spawner does not start.
        UserUnusable: nodes can't run as whom the settings say.
    """
    check_state_dir(settings.state_dir)
    identity = load_identity(settings.state_dir)
    users = HostUsers(users_of(settings.task_user, settings.allow_users))
    try:
        make_state_dir(settings.state_dir)
        with StateLock(settings.state_dir):
            return asyncio.run(Daemon(settings, identity, users).run())
    except OSError as error:
        raise unusable(settings.state_dir, error) or error from None


class Daemon:
    """One agent. The parts are made here and nowhere else."""

    def __init__(self, settings: Settings, identity: Identity, users: HostUsers) -> None:
        self._settings = settings
        self._identity = identity
        self._facts = settings.facts
        others, passable = users.known.others(), users.known.changes()
        self._places = Places(settings.state_dir, settings.work_dir, others, passable)
        self._places.make()
        self._users = users
        check_passable(users.known, [self._places.work, self._places.aux, self._places.launcher.parent])
        self._disks = Disks([self._places.logs, self._places.work], settings.disk_reserve)
        self._instance = uuid.uuid4().hex
        self._health = Station(settings.state_dir, lambda: self._session.wake(), self._test_gpus)
        self._probe = NvmlProbe(on_event=self._health.hear)
        self._peer_port = 0
        self._peer = PeerPort(PeerIdentity(identity.cluster_id, identity.host_id), identity.peer_files)
        options = () if settings.cgroups else (NO_CGROUPS,)
        self._meter = Meter()
        self._runner = Runner(settings.state_dir, self._hear, options)
        self._surroundings = Surroundings(
            settings, self._places, os.environ, lambda: self._hardware.report, users.known.task
        )
        self._hardware = HardwareNow(
            self._probe, self._disks, self._health, users, self._surroundings, settings.cpu_limit
        )
        self._bounds = Bounds(settings.cpu_limit, settings.task_pids or default_pids())
        nodes = self._node_maker()
        archives = ArchiveCache(
            self._places.archives, lambda sha256: self._session.archive(sha256), settings.archive_keep
        )
        tools = Tools(
            self._places,
            nodes,
            PortKeeper(*settings.master_port_range),
            archives,
            self._runner.send,
            self._start_probe,
            lambda desired: self._preflight.measure(desired),
            surround=self._surroundings.prepare,
            strip=self._surroundings.drop,
        )
        self._work = Work(tools, self._changed)
        self._preflight = Preflight(self._peer, self._work, nodes)
        self._peer.measure = self._preflight.answer
        self._launcher = Launcher(self._work, nodes, self._peer)
        self._peer.launch = self._launcher.launch
        coordinators = settings.coordinator or identity.coordinators
        self._session = Session(coordinators, self, self._work, self._health.watch, self._opened, SessionTimes())
        self._departure = Departure(settings.state_dir, self._session, self._work, self._facts.ephemeral)
        self._upgrader = Upgrader(
            settings.state_dir, self._session.wheel, self._session.tell_upgrade, self._session.is_answered
        )
        limits = Limits(settings.log_keep, settings.log_keep_all, settings.log_rate, self._disks.reserve())
        self._logs = LogPublisher(self._places, self._work.observed, self._session.publish, self._work.log_done, limits)

    def _node_maker(self) -> NodeMaker:
        host = environ.Host(self._identity.host_id, self._identity.host_name, self._facts.backend, self._facts.region)
        return NodeMaker(
            self._places,
            host,
            environ.base(os.environ),
            lambda: self._hardware.known.interfaces,
            self._users,
            self._bounds,
            self._surroundings.containers,
            self._surroundings.pythons,
        )

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Start everything, wait for the end, leave tidily."""
        ending = Ending(self._settings.state_dir)
        ending.listen()
        restarted(self._settings.state_dir)
        unmark_leaving(self._settings.state_dir)
        self._upgrader.begin()
        write_launcher(self._places.launcher, self._users.known.changes())
        await self._listen()
        mpi = await self._launcher.listen(self._settings.state_dir, self._users.known.changes())
        parts = [asyncio.create_task(self._runner.run())]
        try:
            await self._first(self._runner.greeted.wait(), parts[0])
            # Ready without any contact yet: a coordinator that is away must not make systemd end this agent.
            notify("READY=1", "STATUS=looking for the coordinator")
            parts += [asyncio.create_task(part) for part in (self._session.run(), self._logs.run(), *self._chores())]
            return await self._until_end(ending, parts)
        finally:
            notify("STOPPING=1")
            mpi.close()
            await self._leave(parts)

    async def _until_end(self, ending: Ending, parts: list[asyncio.Task[None]]) -> Outcome:
        try:
            await first_of(ending.told.wait(), parts)
            if ending.for_good and (self._facts.ephemeral or self._facts.spot):
                departing = self._departure.depart("its agent was told to end", self._settings.leave_within)
                await first_of(either(departing, ending.hurried.wait()), parts)
        except Left as left:
            return Outcome(refused=str(left))
        except Refused as refusal:
            if not self._departure.left:
                log.error("host.refused", reason=str(refusal))
                await self._stop_everything(str(refusal))
                return Outcome(refused=str(refusal))
        if self._departure.left:
            return Outcome()
        log.info("agent.stopping", hint="tasks go on; they are found again at the next start")
        await self._session.goodbye()
        return Outcome()

    async def _first(self, wanted: Coroutine[None, None, object], other: asyncio.Task[None]) -> None:
        """Wait for ``wanted``, or fail as ``other`` fails."""
        task = asyncio.ensure_future(wanted)
        await asyncio.wait([task, other], return_when=asyncio.FIRST_COMPLETED)
        if other.done():
            task.cancel()
            other.result()

    async def _stop_everything(self, reason: str) -> None:
        self._work.stop_everything(reason)
        await self._work.until_idle(STOP_WAIT_SECONDS)

    async def _leave(self, parts: Sequence[asyncio.Task[None]]) -> None:
        await self._upgrader.close()
        await self._work.close()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self._peer.close()
        await self._probe.close()
        self._health.close()

    async def _listen(self) -> None:
        host, port = self._settings.peer_address
        self._peer_port = await self._peer.listen(host, port)
        try:
            write_line(self._settings.state_dir / "peer.port", str(self._peer_port))
        except OSError as error:
            log.warning("peer.port_not_kept", reason=str(error))
        log.info("peer.listening", address=host, port=self._peer_port)

    # --- what the parts need of each other ------------------------------------------------------------------------

    def _hear(self, news: list[Message]) -> None:
        self._work.hear(news)
        self._logs.wake()
        changed = self._hardware.hear(news, self._work.observed.values())
        self._bounds.shm = self._hardware.holds_shm
        if changed is not None:
            self._session.tell_hardware(changed)

    def _changed(self, urgent: bool) -> None:
        self._health.look_at(self._work)
        self._session.wake(urgent)
        self._logs.wake()

    def _opened(self) -> None:
        notify(f"STATUS={IN_CONTACT}")
        self._logs.ask_again()

    def _start_probe(self, members: Sequence[Member]) -> asyncio.Task[list[Probe]]:
        return asyncio.create_task(self._peer.probe_all(members))

    async def probe(self, members: Sequence[Member]) -> list[Probe]:
        """Try to reach hosts that the coordinator asks about."""
        return await self._peer.probe_all(members)

    async def test(self, gpu_uuids: Sequence[str], number: int) -> None:
        """Test these GPUs for the coordinator; the answer is evidence."""
        await self._health.test(gpu_uuids, number)

    async def measure(self, targets: Sequence[str]) -> list[Distance]:
        """See how far what jobs want to be near to is."""
        return await self._meter.measure(targets)

    async def introduce(self) -> Introduction:
        """The host as it is now; hardware that was read a moment ago is not read again."""
        hardware = await self._hardware.fresh()
        addresses = peer_addresses(hardware.interfaces, self._settings.peer_address[0])
        queues, cpus = self._work.queues, self._settings.cpus
        leaving = is_leaving(self._settings.state_dir)
        build, endpoint = self._upgrader.build, (addresses, self._peer_port)
        return Introduction(self._instance, hardware, self._facts, *endpoint, cpus, queues, leaving, build)

    def upgrade(self, order: Order) -> None:
        """Go over to another release."""
        self._upgrader.order(order)

    def upgrade_told(self, progress: Progress) -> None:
        """The coordinator knows how far the upgrade is."""
        self._upgrader.told(progress)

    def connect(self, address: str) -> Link:
        """A new link with the certificate that is on disk now."""
        return Link(address, load_pems(self._identity), self._settings.cpus)

    def learn(self, coordinators: Sequence[str]) -> None:
        """Keep where coordinators answer, so that the next start finds whichever of them leads then."""
        known = (*self._identity.coordinators[:1], *coordinators)
        if coordinators and set(known) != set(self._identity.coordinators):
            self._identity = replace(self._identity, coordinators=tuple(dict.fromkeys(known)))
            try:
                save_record(self._identity)
            except OSError as error:
                log.warning("coordinators.not_kept", reason=str(error))

    async def _test_gpus(self, gpu_uuids: Sequence[str]) -> dict[str, str]:
        """What is wrong with them; nothing holds them now."""
        return await carry_out(await self._hardware.read(), gpu_uuids, self._probe)

    # --- chores ---------------------------------------------------------------------------------------------------

    def _chores(self) -> list[Coroutine[None, None, None]]:
        looking = [self._watch_gpus(), self._health.keep(), self._watch_disks()]
        chores = [*looking, self._renew(), self._prune(), self._prove()]
        if self._settings.interruption is not None:
            chores.append(self._watch_interruption(Watcher(self._settings.interruption)))
        chores.append(self._surroundings.watch(self._surrounded, self._work.holds))
        seconds = watchdog_seconds()
        return [*chores, _feed_watchdog(seconds)] if seconds is not None else chores

    async def _watch_gpus(self) -> None:
        """Live values and health, where there are GPUs; a host without any has nothing that changes."""
        while True:
            await self._health.until_due(FRESH_SECONDS)
            if self._hardware.report is not None and self._hardware.report.gpus:
                self._session.tell_hardware(await self._hardware.read())

    def _surrounded(self) -> None:
        changed = self._hardware.look_around()
        if changed is not None:
            self._session.tell_hardware(changed)
            self._session.wake()

    async def _watch_disks(self) -> None:
        while True:
            await asyncio.sleep(DISK_SECONDS)
            if await asyncio.to_thread(self._disks.look) and self._hardware.report is not None:
                self._session.tell_hardware(await self._hardware.read())
                self._session.wake()

    async def _prune(self) -> None:
        while True:
            self._places.prune_work(self._work.working_names())
            self._places.prune_logs(set(self._work.observed), time.time() - PRUNE_SECONDS)
            await asyncio.sleep(PRUNE_SECONDS)

    async def _watch_interruption(self, watcher: Watcher) -> None:
        """Have the host go when its provider takes it back. Raises Left once it is forgotten."""
        while True:
            await watcher.until_noticed()
            if await self._departure.depart("its provider takes it back", self._settings.leave_within):
                raise Left("this host has left its cluster: its provider takes it back")
            await watcher.until_withdrawn()
            log.info("interruption.withdrawn", hint="the host gets work again")
            self._departure.stay()

    async def _prove(self) -> None:
        await self._upgrader.prove()
        # A part that ends ends the agent.
        await asyncio.Event().wait()

    async def _renew(self) -> None:
        while True:
            if needs_renewal(self._identity, time.time()):
                await self._renew_once()
            await asyncio.sleep(RENEWAL_LOOK_SECONDS)

    async def _renew_once(self) -> None:
        directory = self._settings.state_dir
        try:
            certificate = await self._session.renew(await renewal_request(directory))
            self._identity = await renewal_result(directory, certificate)
        except (RenewalFailed, ContactLost) as error:
            log.warning("certificate.not_renewed", reason=str(error))
            return
        self._peer.renew()
        log.info("certificate.renewed", until=self._identity.not_after)
        self._session.reconnect()


async def _feed_watchdog(seconds: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
