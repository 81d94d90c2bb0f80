"""The ports of a coordinator: opened in order, closed when the stack that owns them unwinds."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc.aio
import structlog
from aiohttp import web

from coordinator import ports
from coordinator.access.server_identity import ServerIdentity
from coordinator.access.server_tls import agent_credentials, api_credentials
from coordinator.greeting import Endpoints
from coordinator.install.site import InstallSite
from coordinator.settings import Origin, Settings

CERTIFICATE_CHECK = 3600.0

log = structlog.get_logger(__name__)


class CannotServe(Exception):
    """The coordinator can't start, or can't go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Fronts:
    """What answers at the ports. ``site`` makes the web application, given the API's port.

    ``release`` is called before the servers stop: it ends what would never end by itself.
    """

    agents: grpc.aio.Server
    api: grpc.aio.Server
    site: Callable[[int], web.Application]
    install: InstallSite
    on_agent_port: Callable[[int], None] = lambda port: None
    release: Callable[[], None] = lambda: None


async def open_ports(
    fronts: Fronts, settings: Settings, identity: ServerIdentity, stack: AsyncExitStack, grace: float
) -> Endpoints:
    """Listen; the agents' server is bound, and still to be started. Raises CannotServe.

    Calls in flight have ``grace`` seconds when the stack unwinds.
    """
    settings = ports.settle(settings)
    by_certificate = agent_credentials(identity, time.time, identity.ca_pem)
    agent_port = _bind(fronts.agents, settings.agent_listen, settings.origins["agent_listen"], by_certificate)
    fronts.on_agent_port(settings.advertise_agent_port or agent_port)
    api_port = _bind(fronts.api, settings.listen, settings.origins["listen"], api_credentials(identity, time.time))
    await fronts.api.start()
    stack.push_async_callback(_stop, fronts, grace)
    doors = _Doors(settings, identity, stack, grace)
    http = await doors.open(fronts.site(api_port), "http") if settings.http else 0
    endpoints = Endpoints(
        advertise=settings.advertise,
        listen=settings.listen,
        api_port=api_port,
        agent_listen=settings.agent_listen,
        agent_port=agent_port,
        http=settings.http,
        http_port=http,
        advertised_agent_port=settings.advertise_agent_port or agent_port,
        install_listen=settings.install_listen,
        install_port=await _install_port(fronts.install, settings, doors),
    )
    fronts.install.address = endpoints.install()
    return endpoints


async def _stop(fronts: Fronts, grace: float) -> None:
    fronts.release()
    # At the same time: an agent whose session ended must not be let in again by the one that stops later.
    await asyncio.gather(*(server.stop(grace) for server in (fronts.agents, fronts.api)))


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


async def _install_port(site: InstallSite, settings: Settings, doors: _Doors) -> int:
    """Serve the installer; its port, 0 where it is off. Nobody who has not asked for it has to give it a port."""
    if settings.install_listen is None:
        return 0
    try:
        return await doors.open(site.app(), "install_listen", hosts=True)
    except CannotServe as error:
        if settings.origins["install_listen"].given:
            raise
        log.warning("install.off", reason=str(error))
        return 0


@dataclass(frozen=True, slots=True)
class _Doors:
    """Opens ports of HTTPS; each is closed when the stack unwinds."""

    settings: Settings
    identity: ServerIdentity
    stack: AsyncExitStack
    grace: float

    async def open(self, app: web.Application, name: str, *, hosts: bool = False) -> int:
        """Serve at the setting's address; the port. ``hosts``: callers may show a host's certificate."""
        address: str = getattr(self.settings, name)
        host, _, port = address.rpartition(":")
        context = self.identity.http_context(time.time())
        if hosts:
            context.load_verify_locations(cadata=self.identity.ca_pem.decode())
            context.verify_mode = ssl.CERT_OPTIONAL
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=self.grace)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, host.strip("[]") or None, int(port), ssl_context=context)
        try:
            await site.start()
        except OSError:
            raise _cannot_listen(address, self.settings.origins[name]) from None
        refresher = asyncio.create_task(_refresh(self.identity, context))
        self.stack.callback(refresher.cancel)
        bound: int = runner.addresses[0][1]
        return bound


async def _refresh(identity: ServerIdentity, context: ssl.SSLContext) -> None:
    """Keep the certificate that HTTP shows young; gRPC asks for its own at each handshake."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK)
        identity.refresh(context, time.time())
