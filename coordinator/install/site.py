"""What the installer's port answers: read-only, the same for everybody, and nothing secret.

A host that has joined may show its certificate, and is then told how the coordinator sees it; that is all there is to
ask. A coordinator that stands by serves the same files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from rallypoint.tls import NotAHost, identity_of
from rallypoint.version import __version__

from coordinator.install.line import SEED_PATH, install_line, seed
from coordinator.install.shelf import Shelf
from coordinator.install.wheel import CannotPack

Standing = Callable[[str], Awaitable[dict[str, str] | None]]
"""How the coordinator sees the host with this id; None when it does not know it."""

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


@dataclass(slots=True)
class InstallSite:
    """The files for hosts, and the line that leads there.

    ``join`` has the addresses (``HOST:PORT``) at which hosts join; ``address`` is the installer's own as hosts see it,
    empty where it is off. One without ``standing`` stands by, and knows of no host.
    """

    shelf: Shelf
    ca_pem: bytes
    cluster_id: str
    standing: Standing | None = None
    join: Callable[[], Sequence[str]] = tuple
    address: str = field(default="")

    def line(self) -> str:
        """What to paste on a host; empty where the installer is off."""
        return install_line(self.address, self.ca_pem) if self.address else ""

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application()
        app.add_routes(
            [
                web.get(SEED_PATH, self._seed),
                web.get("/manifest.json", self._manifest),
                web.get("/wheels/{sha256}/{name}", self._wheel),
                web.get("/standing", self._standing),
            ]
        )
        return app

    async def _seed(self, _: web.Request) -> web.Response:
        return web.Response(body=seed(self.ca_pem), content_type="text/plain", charset="utf-8", headers=_HEADERS)

    async def _manifest(self, _: web.Request) -> web.Response:
        try:
            manifest = await asyncio.to_thread(self.shelf.manifest)
        except (CannotPack, OSError) as error:
            return _refusal(f"this coordinator can't make its wheel: {error}", 503)
        about = {"coordinator": __version__, "cluster": self.cluster_id, "join": self.join()}
        return web.json_response({**manifest, **about}, headers=_HEADERS)

    async def _wheel(self, request: web.Request) -> web.StreamResponse:
        asked = request.match_info
        try:
            path = await asyncio.to_thread(self.shelf.path, asked["sha256"], asked["name"])
        except (CannotPack, OSError) as error:
            return _refusal(f"this coordinator can't make its wheel: {error}", 503)
        if path is None or not path.exists():
            return _refusal("no such wheel; the manifest names those there are", 404)
        return web.FileResponse(path, headers=_HEADERS)

    async def _standing(self, request: web.Request) -> web.Response:
        certificate: dict[str, Any] = request.get_extra_info("peercert") or {}
        try:
            host = identity_of(certificate.get("subjectAltName", ()))
        except NotAHost:
            return _refusal("only a host that shows its certificate is told how it stands", 403)
        if self.standing is None:
            return _refusal("this coordinator stands by; the one that leads knows", 503)
        known = await self.standing(host.host_id) if host.cluster_id == self.cluster_id else None
        if known is None:
            return _refusal(f"this coordinator knows no host {host.host_id}", 404)
        return web.json_response(known, headers=_HEADERS)


def _refusal(text: str, status: int) -> web.Response:
    return web.Response(text=text + "\n", status=status, headers=_HEADERS)
