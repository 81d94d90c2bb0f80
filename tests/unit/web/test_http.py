"""Probes, headers, static files and errors, over real TLS."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession

from coordinator.views import OverviewView
from tests.fakes.reader import FakeReader, host, job
from tests.fakes.site import AUTHORIZED, Site, browsing, serving

pytestmark = pytest.mark.timeout(30)


def visit(folder: Path, use: Callable[[Site, ClientSession], Awaitable[None]], site: Site | None = None) -> None:
    """Run ``use`` against a served site."""

    async def run() -> None:
        async with serving(folder, site or Site()) as served, browsing(folder, served) as client:
            await use(served, client)

    asyncio.run(run())


def test_probes_need_no_identity_and_tell_nothing_else(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")
        site.ready = False
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "not ready\n")
        async with client.get("/healthz") as answer:
            assert answer.status == 200

    visit(tmp_path, use)


@pytest.mark.parametrize("path", ["/healthz", "/login", "/static/app.css", "/api/overview", "/nothing", "/"])
def test_every_answer_has_the_security_headers(tmp_path: Path, path: str) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        for headers in ({}, AUTHORIZED):
            async with client.get(path, headers=headers, allow_redirects=False) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert "aiohttp" not in answer.headers["Server"]
                expected = "no-cache" if path.startswith("/static/") else "no-store"
                assert answer.headers["Cache-Control"] == expected

    visit(tmp_path, use)


def test_static_files_are_compared_and_not_sent_twice(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.get("/static/overview.js") as answer:
            assert answer.content_type == "text/javascript"
            tag = answer.headers["ETag"]
        async with client.get("/static/overview.js", headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        for wrong in ("/static/..%2fapp.py", "/static/none.js"):
            async with client.get(wrong) as answer:
                assert answer.status == 404

    visit(tmp_path, use)


def test_no_page_has_inline_scripts_or_styles(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1, name='<script>alert("name")</script>'))
        for path in ("/", "/jobs/j-1", "/login", "/nothing"):
            async with client.get(path, headers=AUTHORIZED) as answer:
                text = await answer.text()
                assert "<script>" not in text
                assert " style=" not in text
                assert " onclick=" not in text

    visit(tmp_path, use)


def test_the_json_documents(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_host(host(1))
        await site.reader.put_job(job(7))
        async with client.get("/api/overview", headers=AUTHORIZED) as answer:
            document = await answer.json()
            assert document["version"] == 1
            assert document["hosts"][0]["name"] == "node-1"
        for ref in ("j-7", "job-7"):
            async with client.get(f"/api/jobs/{ref}", headers=AUTHORIZED) as answer:
                assert (await answer.json())["job"]["id"] == "j-7"

    visit(tmp_path, use)


def test_errors_are_json_for_programs_and_pages_for_people(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.get("/api/jobs/j-404", headers=AUTHORIZED) as answer:
            assert answer.status == 404
            error = (await answer.json())["error"]
            assert error["reason"] == "NOT_FOUND"
            assert "job 'j-404' does not exist" in error["message"]
        async with client.get("/jobs/j-404", headers=AUTHORIZED) as answer:
            assert (answer.status, answer.content_type) == (404, "text/html")
            assert "does not exist" in await answer.text()
        async with client.get("/api/overview?limit=many", headers=AUTHORIZED) as answer:
            assert answer.status == 400
            assert "limit=" in (await answer.json())["error"]["message"]
        async with client.post("/api/overview", headers=AUTHORIZED) as answer:
            assert answer.status == 405

    visit(tmp_path, use)


class _Broken(FakeReader):
    async def overview(self) -> OverviewView:
        raise RuntimeError("the secret of the engine room")


def test_a_defect_is_told_plainly_without_its_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def use(_: Site, client: ClientSession) -> None:
        async with client.get("/api/overview", headers=AUTHORIZED) as answer:
            text = await answer.text()
            assert answer.status == 500
            assert json.loads(text)["error"]["reason"] == "INTERNAL"
            assert "secret" not in text
            assert "Traceback" not in text

    visit(tmp_path, use, Site(reader=_Broken()))


def test_only_the_clusters_own_ca_proves_the_server(tmp_path: Path) -> None:
    async def use(site: Site, _: ClientSession) -> None:
        async with ClientSession() as stranger:
            with pytest.raises(ClientConnectorCertificateError):
                await stranger.get(site.url + "/healthz")
        old = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_3
        async with ClientSession() as friend, friend.get(site.url + "/healthz", ssl=old) as answer:
            assert answer.status == 200

    visit(tmp_path, use)
