"""What the web port answers while another coordinator leads."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web


def standby_app(leader: Callable[[], str]) -> web.Application:
    """Alive, not ready, and nothing else; ``leader`` gives the leader's address for commands, empty when unknown."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def other(_: web.Request) -> web.Response:
        address = leader()
        leads = f"the one at {address} leads" if address else "another one leads"
        return web.Response(text=f"not ready: this coordinator stands by, {leads}\n", status=503)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.route("*", "/{path:.*}", other)])
    return app
