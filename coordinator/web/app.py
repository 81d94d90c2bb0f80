"""Puts the web together: routes, middlewares, and what ends when the coordinator does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry

from coordinator.views import Reader
from coordinator.web import documents
from coordinator.web.answers import Errors, add_headers, json_answer
from coordinator.web.auth import Auth, identity_of
from coordinator.web.live import Live
from coordinator.web.logs import Logs
from coordinator.web.metrics import Metrics
from coordinator.web.ports import Authenticate, LogReader
from coordinator.web.stream import Streams
from coordinator.web.templates import StaticFiles, Templates

MAX_FORM_BYTES = 16 * 1024


class _Views:
    """The pages and their JSON."""

    def __init__(
        self, reader: Reader, live: Live, streams: Streams, templates: Templates, join_port: int | None
    ) -> None:
        self._reader = reader
        self._live = live
        self._streams = streams
        self._templates = templates
        self._join_port = join_port

    async def overview_page(self, request: web.Request) -> web.Response:
        return self._templates.answer("overview.html", user=identity_of(request).name, join_port=self._join_port)

    async def job_page(self, request: web.Request) -> web.Response:
        job = (await self._reader.job(request.match_info["ref"])).job.job
        user = identity_of(request).name
        return self._templates.answer("job.html", user=user, job_id=job.id, job_name=job.name)

    async def overview(self, request: web.Request) -> web.Response:
        page = documents.parse_page(request.query)
        view = await self._reader.overview()
        return json_answer(await asyncio.to_thread(documents.overview, view, page))

    async def overview_events(self, request: web.Request) -> web.StreamResponse:
        page = documents.parse_page(request.query)
        return await self._streams.serve(request, self._live.overview(page))

    async def job(self, request: web.Request) -> web.Response:
        page = documents.parse_page(request.query)
        detail = await self._reader.job(request.match_info["ref"], documents.nodes_of(page))
        return json_answer(documents.job(detail, page))

    async def job_events(self, request: web.Request) -> web.StreamResponse:
        page = documents.parse_page(request.query)
        job = (await self._reader.job(request.match_info["ref"])).job.job
        return await self._streams.serve(request, self._live.job(job.id, page))


def make_app(
    reader: Reader,
    logs: LogReader,
    authenticate: Authenticate,
    ready: Callable[[], bool],
    version: str,
    registry: CollectorRegistry | None = None,
    join_port: int | None = None,
) -> web.Application:
    """The web application, to be served over TLS. Call it inside the event loop that will run it.

    ``ready`` tells whether the coordinator serves (for ``/readyz``); ``registry`` may hold more counters to show;
    ``join_port`` is the port that agents join at, for the page's advice.
    """
    templates = Templates(version)
    errors = Errors(templates)
    auth = Auth(authenticate, templates, errors)
    streams = Streams(auth.identify)
    metrics = Metrics(reader, version, registry)
    metrics.watch(auth, streams)
    app = web.Application(
        middlewares=[_counting(metrics), errors.middleware, auth.middleware], client_max_size=MAX_FORM_BYTES
    )
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(streams.close)
    views = _Views(reader, Live(reader), streams, templates, join_port)
    app.add_routes(_probes(ready))
    app.add_routes(
        [
            web.get("/login", auth.show_login),
            web.post("/login", auth.login),
            web.post("/logout", auth.logout),
            web.get("/static/{name}", StaticFiles().get),
            web.get("/metrics", metrics.get),
            web.get("/", views.overview_page),
            web.get("/jobs/{ref}", views.job_page),
            web.get("/api/overview", views.overview),
            web.get("/api/events", views.overview_events, allow_head=False),
            web.get("/api/jobs/{ref}", views.job),
            web.get("/api/jobs/{ref}/events", views.job_events, allow_head=False),
            web.get("/api/jobs/{ref}/logs", Logs(reader, logs, streams).get, allow_head=False),
        ]
    )
    return app


def _probes(ready: Callable[[], bool]) -> list[web.RouteDef]:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(text="not ready\n", status=503)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _counting(metrics: Metrics) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            metrics.count(499)
            raise
        metrics.count(response.status)
        return response

    return count
