"""The coordinator's composition root: every part is made and wired here, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TextIO, TypeVar

from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc.aio  # noqa: E402 -- gRPC reads its settings from the environment when it is imported
import structlog  # noqa: E402
from aiohttp import web  # noqa: E402
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: E402
from rallypoint import console, systemd  # noqa: E402
from rallypoint.channel import server_options  # noqa: E402
from rallypoint.v1 import (  # noqa: E402
    access_service_pb2_grpc,
    agent_service_pb2_grpc,
    host_service_pb2_grpc,
    job_service_pb2_grpc,
)
from rallypoint.version import __version__  # noqa: E402

from coordinator import recovery  # noqa: E402
from coordinator.access import ca, users  # noqa: E402
from coordinator.access.errors import Unauthenticated  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.accounts import Accounts  # noqa: E402
from coordinator.archives import ArchiveStore  # noqa: E402
from coordinator.backup import Mark  # noqa: E402
from coordinator.core.ids import HostId  # noqa: E402
from coordinator.engine import Engine  # noqa: E402
from coordinator.greeting import Endpoints, admin_context, greet, write_endpoints  # noqa: E402
from coordinator.install.release import own_wheel  # noqa: E402
from coordinator.install.shelf import Shelf  # noqa: E402
from coordinator.install.site import InstallSite  # noqa: E402
from coordinator.listeners import CannotServe, Fronts, open_ports  # noqa: E402
from coordinator.logstore import LogStore  # noqa: E402
from coordinator.outputs import Outputs, Reading  # noqa: E402
from coordinator.own_wheel import OwnWheel  # noqa: E402
from coordinator.place import Place, authority_of, files_of, open_place  # noqa: E402
from coordinator.rpc.access_service import AccessParts, AccessService  # noqa: E402
from coordinator.rpc.agent_service import AgentParts, AgentService  # noqa: E402
from coordinator.rpc.host_service import HostService  # noqa: E402
from coordinator.rpc.hub import Hub  # noqa: E402
from coordinator.rpc.identity import IdentityInterceptor  # noqa: E402
from coordinator.rpc.job_service import JobService  # noqa: E402
from coordinator.settings import Settings  # noqa: E402
from coordinator.standby import Standby  # noqa: E402
from coordinator.store import StoreError  # noqa: E402
from coordinator.store.leadership import PROOF_SECONDS, Leadership  # noqa: E402
from coordinator.store.sql import SqlStore  # noqa: E402
from coordinator.web.app import make_app  # noqa: E402

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Calls in flight may finish for so long once the coordinator is told to stop; streams of agents end at once.
STOP_GRACE = 2.0
MEETING_SECONDS = 1.0


def run(settings: Settings, out: TextIO | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotServe and StoreError, also when it can't go on serving."""
    console.configure(settings.log_level)
    asyncio.run(_serve(settings, out or sys.stdout))


class _End:
    """When to end, and because of what if it is no orderly end."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reason: BaseException | None = None

    def because(self, reason: BaseException) -> None:
        """End: what was promised can't be kept."""
        log.critical("coordinator.ends", reason=str(reason), exc_info=None if _told(reason) else reason)
        self.reason = self.reason or reason
        self.stop.set()


def _told(reason: BaseException) -> bool:
    return isinstance(reason, StoreError)


@dataclass(slots=True)
class _Core:
    """The parts that every listener works with."""

    place: Place
    settings: Settings
    authority: ca.Authority
    identity: ServerIdentity
    engine: Engine
    hub: Hub
    logs: LogStore
    archives: ArchiveStore
    outputs: Outputs
    accounts: Accounts
    shelf: Shelf
    ready: bool = False

    async def wheel(self) -> OwnWheel:
        """What hosts are upgraded to. Raises Conflict."""
        return await own_wheel(self.shelf)

    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.ready and self.place.leads()


async def _serve(settings: Settings, out: TextIO) -> None:
    end = _End()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.stop.set)
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(open_place(settings, end.because))
        if await _leading(place, end.stop, out):
            await _lead(await stack.enter_async_context(_core(place, end)), stack, end, out)
    log.info("coordinator.stopped")
    if end.reason is not None:
        raise end.reason if _told(end.reason) else CannotServe(f"the coordinator failed ({end.reason}); see its log")


async def _lead(core: _Core, stack: AsyncExitStack, end: _End, out: TextIO) -> None:
    data_dir, seat = core.settings.data_dir, core.place.seat
    endpoints, agents = await _listen(core, stack)
    if seat is not None:
        await core.place.in_writer(lambda: seat.announce(endpoints.member()))
    context = await admin_context(core.accounts, core.authority, data_dir, endpoints, seat)
    # Last: hundreds of agents may be waiting, and users need not wait behind them.
    await agents.start()
    write_endpoints(data_dir, endpoints)
    core.ready = True
    greet(out, data_dir, endpoints, context)
    term = {} if seat is None else {"term": seat.term}
    log.info(
        "coordinator.serving", version=__version__, cluster=core.authority.cluster_id, **term, **endpoints.as_log()
    )
    systemd.notify("READY=1", "STATUS=serving")
    if seat is not None:
        meeting = asyncio.create_task(_meet(core, endpoints, seat))
        stack.callback(meeting.cancel)
    await _until(end.stop)
    systemd.notify("STOPPING=1")
    core.ready = False
    log.info("coordinator.stopping")


async def _meet(core: _Core, endpoints: Endpoints, seat: Leadership) -> None:
    """Keep the addresses in the admin's context file those of the coordinators that are there."""
    known = seat.members
    while True:
        await asyncio.sleep(MEETING_SECONDS)
        if seat.members != known:
            known = seat.members
            await admin_context(core.accounts, core.authority, core.settings.data_dir, endpoints, seat)


async def _until(stop: asyncio.Event) -> None:
    interval = systemd.watchdog_seconds()
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await stop.wait()
        systemd.notify("WATCHDOG=1")


async def _leading(place: Place, stop: asyncio.Event, out: TextIO) -> bool:
    """Whether this coordinator leads: at once, or after it stood by. False when it was stopped before."""
    seat, data_dir = place.seat, place.settings.data_dir
    if seat is None or await place.in_writer(seat.take):
        return True
    known = await place.in_writer(seat.ca_pem)
    authority = ca.load_shared(data_dir / "ca", known, time.time(), may_create=False)
    identity = ServerIdentity(authority, data_dir / "ca", server_names(place.settings.advertise))
    install = InstallSite(Shelf(data_dir), authority.certificate_pem, authority.cluster_id, join=place.api_addresses)
    return await Standby(place.settings, seat, identity, place.in_writer, install).until_leading(stop, out)


@asynccontextmanager
async def _core(place: Place, end: _End) -> AsyncIterator[_Core]:
    """Everything below the listeners, with the engine running."""
    settings = place.settings
    data_dir = settings.data_dir
    restored = Mark.find(data_dir)
    # The store's lock comes first: a second coordinator on this directory must not touch anything in it.
    store = await place.in_writer(lambda: SqlStore(data_dir, place.seat))
    try:
        authority = await authority_of(place)
        identity = ServerIdentity(authority, data_dir / "ca", server_names(settings.advertise))
        with ExitStack() as stack:
            logs, archives = await place.in_writer(lambda: files_of(place, stack))
            hub = Hub()
            engine = Engine(store, settings.timing, hub, logs.forget, place.writer)
            loaded = await engine.load(0.0 if place.seat is None else PROOF_SECONDS)
            accounts = Accounts(engine, authority.cluster_id, authority.pin, loaded.join_tokens, loaded.users)
            outputs = Outputs(engine, logs)
            running = asyncio.create_task(engine.run(), name="engine")
            running.add_done_callback(functools.partial(_engine_ended, end))
            if restored is not None:
                hold = await engine.read(lambda state: state.timing.lost)
                await recovery.settle(restored, data_dir, engine, logs, hold)
            yield _Core(
                place, settings, authority, identity, engine, hub, logs, archives, outputs, accounts, Shelf(data_dir)
            )
            if place.seat is not None:
                place.seat.give_up()
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running
            await logs.close()
    finally:
        await place.in_writer(store.close)


def _engine_ended(end: _End, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        # Without its engine the coordinator can promise nothing: end loudly, and be started anew from the store.
        end.because(error)


async def _listen(core: _Core, stack: AsyncExitStack) -> tuple[Endpoints, grpc.aio.Server]:
    """Start the API port and HTTP, and bind the agent port, whose server is still to be started. Each stops by itself
    when the stack unwinds."""
    access = AccessParts(core.accounts, core.authority, core.settings.certificate_life, core.place.agent_addresses)
    install = _install_site(core)
    access.install_line = install.line
    fronts = Fronts(
        agents=_agent_server(core),
        api=_api_server(core, access),
        site=lambda api_port: _site(core, api_port),
        install=install,
        on_agent_port=functools.partial(setattr, access, "agent_port"),
        release=functools.partial(_release, core),
    )
    endpoints = await open_ports(fronts, core.settings, core.identity, stack, STOP_GRACE)
    others = core.place.api_addresses
    install.join = lambda: tuple(dict.fromkeys((endpoints.public(), *others())))
    return endpoints, fronts.agents


def _install_site(core: _Core) -> InstallSite:
    async def standing(host_id: str) -> dict[str, str] | None:
        host = await core.engine.read(lambda state: state.hosts.get(HostId(host_id)))
        return None if host is None else {"id": host.id, "name": host.name, "state": host.state.value}

    authority = core.authority
    return InstallSite(core.shelf, authority.certificate_pem, authority.cluster_id, standing)


def _release(core: _Core) -> None:
    """End streams, and let the calls in flight finish: what they post is still committed."""
    core.hub.reset()
    core.engine.release()


def _agent_server(core: _Core) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[_identity(core)], options=server_options())
    parts = AgentParts(
        engine=core.engine,
        hub=core.hub,
        logs=core.logs,
        archives=core.archives,
        authority=core.authority,
        timing=core.settings.timing,
        certificate_life=core.settings.certificate_life,
        coordinators=core.place.agent_addresses,
        wheel=core.wheel,
    )
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(AgentService(parts), server)
    return server


def _api_server(core: _Core, access: AccessParts) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[_identity(core)], options=server_options())
    job_service_pb2_grpc.add_JobServiceServicer_to_server(
        JobService(core.engine, core.outputs, core.archives, core.settings.data_dir), server
    )
    host_service_pb2_grpc.add_HostServiceServicer_to_server(HostService(core.engine, core.wheel), server)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessService(access), server)
    servicer = health.aio.HealthServicer()
    servicer._server_status[""] = health_pb2.HealthCheckResponse.SERVING
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server


def _identity(core: _Core) -> IdentityInterceptor:
    return IdentityInterceptor(core.accounts, core.authority.cluster_id, core.place.leads)


def _site(core: _Core, api_port: int) -> web.Application:
    async def authenticate(token: str) -> users.User | None:
        try:
            return core.accounts.by_token_hash(users.token_hash(token))
        except Unauthenticated:
            return None

    reader = Reading(core.engine, core.outputs)
    return make_app(reader, core.outputs, authenticate, core.is_ready, __version__, join_port=api_port)
