"""The real web application over real TLS on a loopback port, with fakes behind it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, CookieJar, TCPConnector, web

from coordinator.access import ca
from coordinator.web import make_app
from tests.fakes.reader import FakeLogs, FakeReader

TOKEN = "rpu-token-of-ada"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class User:
    """An identity."""

    name: str


@dataclass
class Site:
    """A running web server: what is behind it and where it is."""

    reader: FakeReader = field(default_factory=FakeReader)
    logs: FakeLogs = field(default_factory=FakeLogs)
    users: dict[str, str] = field(default_factory=lambda: {TOKEN: "ada"})
    ready: bool = True
    url: str = ""
    runner: web.AppRunner | None = None

    async def authenticate(self, token: str) -> User | None:
        """Whose token it is."""
        return User(self.users[token]) if token in self.users else None


@asynccontextmanager
async def serving(folder: Path, site: Site) -> AsyncIterator[Site]:
    """Serve ``site`` on a free port of 127.0.0.1; keys and CA are made in ``folder``."""
    app = make_app(site.reader, site.logs, site.authenticate, lambda: site.ready, "1.2.3", join_port=7070)
    site.runner = web.AppRunner(app, shutdown_timeout=2.0, access_log=None)
    await site.runner.setup()
    try:
        await web.TCPSite(site.runner, "127.0.0.1", 0, ssl_context=_server_tls(folder)).start()
        site.url = f"https://127.0.0.1:{site.runner.addresses[0][1]}"
        yield site
    finally:
        await _stop(site.runner)


@asynccontextmanager
async def browsing(folder: Path, site: Site) -> AsyncIterator[ClientSession]:
    """A client that trusts the site's CA alone and keeps cookies."""
    connector = TCPConnector(ssl=ssl.create_default_context(cafile=str(folder / "ca.pem")))
    async with ClientSession(site.url, connector=connector, cookie_jar=CookieJar(unsafe=True)) as client:
        yield client


async def _stop(runner: web.AppRunner) -> None:
    """Stop, and cut connections off: a browser that keeps one open would outlive the loop."""
    transports = [handler.transport for handler in runner.server.connections] if runner.server else []
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
    # The loop closes a socket one turn after its transport.
    for _ in range(3):
        await asyncio.sleep(0)


def _server_tls(folder: Path) -> ssl.SSLContext:
    authority = ca.load_or_create(folder / "ca", time.time())
    pair = authority.issue_server(["127.0.0.1"], time.time())
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    (folder / "server.pem").write_bytes(pair.chain_pem)
    (folder / "server.key").write_bytes(pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context
