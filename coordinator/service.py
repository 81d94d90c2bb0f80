"""The coordinator's composition root: every part is made and wired here, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc.aio  # noqa: E402 -- gRPC reads its settings from the environment when it is imported
import structlog  # noqa: E402
from aiohttp import web  # noqa: E402
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: E402
from rallypoint import console, systemd  # noqa: E402
from rallypoint.channel import server_options  # noqa: E402
from rallypoint.files import make_private_dir  # noqa: E402
from rallypoint.v1 import (  # noqa: E402
    access_service_pb2_grpc,
    agent_service_pb2_grpc,
    host_service_pb2_grpc,
    job_service_pb2_grpc,
)
from rallypoint.version import __version__  # noqa: E402

from coordinator import ports, recovery  # noqa: E402
from coordinator.access import ca, users  # noqa: E402
from coordinator.access.errors import Unauthenticated  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import agent_credentials, api_credentials  # noqa: E402
from coordinator.accounts import Accounts  # noqa: E402
from coordinator.archives import ArchiveStore  # noqa: E402
from coordinator.backup import Mark  # noqa: E402
from coordinator.engine import Engine  # noqa: E402
from coordinator.greeting import Endpoints, admin_context, greet, write_endpoints  # noqa: E402
from coordinator.logstore import LogStore  # noqa: E402
from coordinator.outputs import Outputs, Reading  # noqa: E402
from coordinator.rpc.access_service import AccessParts, AccessService  # noqa: E402
from coordinator.rpc.agent_service import AgentParts, AgentService  # noqa: E402
from coordinator.rpc.host_service import HostService  # noqa: E402
from coordinator.rpc.hub import Hub  # noqa: E402
from coordinator.rpc.identity import IdentityInterceptor  # noqa: E402
from coordinator.rpc.job_service import JobService  # noqa: E402
from coordinator.settings import Origin, Settings  # noqa: E402
from coordinator.store import StoreError  # noqa: E402
from coordinator.store.database import place_of  # noqa: E402
from coordinator.store.leadership import Leadership  # noqa: E402
from coordinator.store.sql import SqlStore  # noqa: E402
from coordinator.web.app import make_app  # noqa: E402

log = structlog.get_logger(__name__)

# Calls in flight may finish for so long once the coordinator is told to stop; streams of agents end at once.
STOP_GRACE = 2.0
CERTIFICATE_CHECK = 3600.0


class CannotServe(Exception):
    """The coordinator can't start; the message says why and what to do."""


def run(settings: Settings, out: TextIO | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotServe and StoreError before anything is promised to anyone."""
    console.configure(settings.log_level)
    asyncio.run(_serve(settings, out or sys.stdout))


@dataclass(slots=True)
class _Core:
    """The parts that every listener works with."""

    settings: Settings
    authority: ca.Authority
    identity: ServerIdentity
    engine: Engine
    hub: Hub
    logs: LogStore
    archives: ArchiveStore
    outputs: Outputs
    accounts: Accounts
    ready: bool = False


async def _serve(settings: Settings, out: TextIO) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(_core(settings))
        endpoints, agents = await _listen(core, stack)
        context = await admin_context(core.accounts, core.authority, settings.data_dir, endpoints)
        # Last: hundreds of agents may be waiting, and users need not wait behind them.
        await agents.start()
        write_endpoints(settings.data_dir, endpoints)
        core.ready = True
        greet(out, settings.data_dir, endpoints, context)
        log.info("coordinator.serving", version=__version__, cluster=core.authority.cluster_id, **endpoints.as_log())
        systemd.notify("READY=1")
        await _until(stop)
        systemd.notify("STOPPING=1")
        core.ready = False
        log.info("coordinator.stopping")
    log.info("coordinator.stopped")


async def _until(stop: asyncio.Event) -> None:
    interval = systemd.watchdog_seconds()
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await stop.wait()
        systemd.notify("WATCHDOG=1")


@asynccontextmanager
async def _core(settings: Settings) -> AsyncIterator[_Core]:
    """Everything below the listeners, with the engine running."""
    data_dir = settings.data_dir
    make_private_dir(data_dir)
    restored = Mark.find(data_dir)
    # The store's lock comes first: a second coordinator on this directory must not touch anything in it.
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
    loop = asyncio.get_running_loop()
    store = await loop.run_in_executor(writer, _open_store, settings)
    try:
        authority = ca.load_or_create(data_dir / "ca", time.time())
        identity = ServerIdentity(authority, data_dir / "ca", server_names(settings.advertise))
        logs = LogStore(data_dir / "logs", settings.log_limit)
        archives, hub = ArchiveStore(data_dir / "archives", keep_bytes=settings.archive_keep), Hub()
        engine = Engine(store, settings.timing, hub, logs.forget, writer)
        loaded = await engine.load()
        accounts = Accounts(engine, authority.cluster_id, authority.pin, loaded.join_tokens, loaded.users)
        outputs = Outputs(engine, logs)
        running = asyncio.create_task(engine.run(), name="engine")
        running.add_done_callback(_engine_ended)
        if restored is not None:
            await recovery.settle(restored, data_dir, engine, logs, settings.timing.lost)
        yield _Core(settings, authority, identity, engine, hub, logs, archives, outputs, accounts)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await logs.close()
    finally:
        await loop.run_in_executor(writer, store.close)
        writer.shutdown()


def _open_store(settings: Settings) -> SqlStore:
    if settings.database_url is None:
        return SqlStore(settings.data_dir)
    seat = Leadership(settings.database_url)
    if not seat.take():
        seat.close()
        raise StoreError(f"another coordinator leads on database {place_of(seat.url)}; stop it, then start this one")
    return SqlStore(settings.data_dir, seat)


def _engine_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        # Without its engine the coordinator can promise nothing: end loudly, and be started anew from the store.
        log.critical("engine.ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)


async def _listen(core: _Core, stack: AsyncExitStack) -> tuple[Endpoints, grpc.aio.Server]:
    """Start the API port and HTTP, and bind the agent port, whose server is still to be started. Each stops by itself
    when the stack unwinds."""
    settings = ports.settle(core.settings)
    access = AccessParts(core.accounts, core.authority, settings.certificate_life)
    agents = _agent_server(core)
    agent_port = _bind(
        agents,
        settings.agent_listen,
        settings.origins["agent_listen"],
        agent_credentials(core.identity, time.time, core.authority.certificate_pem),
    )
    access.agent_port = settings.advertise_agent_port or agent_port
    api = _api_server(core, access)
    api_port = _bind(api, settings.listen, settings.origins["listen"], api_credentials(core.identity, time.time))
    await api.start()
    stack.push_async_callback(_stop, core, (agents, api))
    http = await _start_http(core, stack, settings, api_port)
    found = Endpoints(
        settings.advertise, settings.listen, api_port, settings.agent_listen, agent_port, settings.http, http
    )
    return found, agents


async def _stop(core: _Core, servers: Sequence[grpc.aio.Server]) -> None:
    """Take no more calls, end streams, let the calls in flight finish: what they post is still committed."""
    core.hub.reset()
    core.engine.release()
    # At the same time: an agent whose session ended must not be let in again by the one that stops later.
    await asyncio.gather(*(server.stop(STOP_GRACE) for server in servers))


def _bind(server: grpc.aio.Server, address: str, origin: Origin, credentials: grpc.ServerCredentials) -> int:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise _cannot_listen(address, origin)
    return port


def _cannot_listen(address: str, origin: Origin) -> CannotServe:
    given = f" ({origin.given})" if origin.given else ""
    return CannotServe(f"can't listen on {address}{given}: {ports.why_not(address)}; choose another with {origin.way}")


def _agent_server(core: _Core) -> grpc.aio.Server:
    server = grpc.aio.server(
        interceptors=[IdentityInterceptor(core.accounts, core.authority.cluster_id)], options=server_options()
    )
    parts = AgentParts(
        engine=core.engine,
        hub=core.hub,
        logs=core.logs,
        archives=core.archives,
        authority=core.authority,
        timing=core.settings.timing,
        certificate_life=core.settings.certificate_life,
    )
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(AgentService(parts), server)
    return server


def _api_server(core: _Core, access: AccessParts) -> grpc.aio.Server:
    server = grpc.aio.server(
        interceptors=[IdentityInterceptor(core.accounts, core.authority.cluster_id)], options=server_options()
    )
    job_service_pb2_grpc.add_JobServiceServicer_to_server(
        JobService(core.engine, core.outputs, core.archives, core.settings.data_dir), server
    )
    host_service_pb2_grpc.add_HostServiceServicer_to_server(HostService(core.engine), server)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessService(access), server)
    servicer = health.aio.HealthServicer()
    servicer._server_status[""] = health_pb2.HealthCheckResponse.SERVING
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server


async def _start_http(core: _Core, stack: AsyncExitStack, settings: Settings, api_port: int) -> int:
    """Serve the web page; the port, or 0 when it is switched off."""
    if settings.http is None:
        return 0
    host, _, port = settings.http.rpartition(":")

    async def authenticate(token: str) -> users.User | None:
        try:
            return core.accounts.by_token_hash(users.token_hash(token))
        except Unauthenticated:
            return None

    app = make_app(
        Reading(core.engine, core.outputs),
        core.outputs,
        authenticate,
        lambda: core.ready,
        __version__,
        join_port=api_port,
    )
    context = core.identity.http_context(time.time())
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_GRACE)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host.strip("[]") or None, int(port), ssl_context=context)
    try:
        await site.start()
    except OSError:
        raise _cannot_listen(settings.http, settings.origins["http"]) from None
    refresher = asyncio.create_task(_refresh(core.identity, context))
    stack.callback(refresher.cancel)
    bound: int = runner.addresses[0][1]
    return bound


async def _refresh(identity: ServerIdentity, context: ssl.SSLContext) -> None:
    """Keep the certificate that HTTP shows young; gRPC asks for its own at each handshake."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK)
        identity.refresh(context, time.time())
