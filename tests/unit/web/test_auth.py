"""Nothing is told without identity; sessions, bearer tokens, sign-in, sign-out, and the brake on guessing."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.fakes.reader import job
from tests.fakes.site import AUTHORIZED, TOKEN, Site
from tests.unit.web.test_http import visit

pytestmark = pytest.mark.timeout(30)

SECURED = ["/api/overview", "/api/events", "/api/jobs/j-1", "/api/jobs/j-1/events", "/api/jobs/j-1/logs", "/metrics"]


def test_every_route_but_the_way_in_needs_identity(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        assert site.runner is not None
        routes = {resource.canonical for resource in site.runner.app.router.resources()}
        open_ = {"/healthz", "/readyz", "/login", "/static/{name}"}
        for path in routes - open_:
            url = path.replace("{ref}", "j-1")
            method = "POST" if path == "/logout" else "GET"
            async with client.request(method, url, allow_redirects=False) as answer:
                assert answer.status in (401, 303), path
                assert "ada" not in await answer.text()

    visit(tmp_path, use)


@pytest.mark.parametrize("path", SECURED)
def test_programs_are_told_that_a_token_is_needed(tmp_path: Path, path: str) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.get(path) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await answer.json())["error"]["reason"] == "UNAUTHENTICATED"
        async with client.get(path, headers={"Authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401
            assert "unknown, expired or revoked" in (await answer.json())["error"]["message"]

    visit(tmp_path, use)


def test_people_are_sent_to_sign_in_and_back(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        async with client.get("/jobs/j-1", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/login?next=/jobs/j-1"
        form = {"token": TOKEN, "next": "/jobs/j-1"}
        async with client.post("/login", data=form, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/jobs/j-1")
            cookie = answer.headers["Set-Cookie"]
            assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/", "__Host-"))
            assert TOKEN not in cookie
        async with client.get("/jobs/j-1", allow_redirects=False) as answer:
            assert answer.status == 200
            assert "ada" in await answer.text()
        async with client.post("/logout", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/login"
        async with client.get("/jobs/j-1", allow_redirects=False) as answer:
            assert answer.status == 303

    visit(tmp_path, use)


def test_a_kept_cookie_is_worth_nothing_after_sign_out(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.post("/login", data={"token": TOKEN}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"].split(";")[0]
        client.cookie_jar.clear()
        async with client.get("/api/overview", headers={"Cookie": cookie}) as answer:
            assert answer.status == 200
        async with client.post("/logout", headers={"Cookie": cookie}, allow_redirects=False):
            pass
        client.cookie_jar.clear()
        async with client.get("/api/overview", headers={"Cookie": cookie}) as answer:
            assert answer.status == 401

    visit(tmp_path, use)


def test_revoking_the_token_ends_its_sessions(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        async with client.post("/login", data={"token": TOKEN}):
            pass
        async with client.get("/api/overview") as answer:
            assert answer.status == 200
        del site.users[TOKEN]
        async with client.get("/api/overview") as answer:
            assert answer.status == 401

    visit(tmp_path, use)


@pytest.mark.parametrize(
    "after", ["https://evil.example/", "//evil.example", "/\\evil.example", "/jobs/../x", "/login"]
)
def test_signing_in_leads_nowhere_else(tmp_path: Path, after: str) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.post("/login", data={"token": TOKEN, "next": after}, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/"

    visit(tmp_path, use)


def test_forms_of_other_sites_are_refused(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        foreign = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
        for headers in foreign:
            for path, more in (("/login", {}), ("/logout", AUTHORIZED)):
                async with client.post(path, data={"token": TOKEN}, headers={**headers, **more}) as answer:
                    assert answer.status == 403
                    assert "Set-Cookie" not in answer.headers
        async with client.post(
            "/login", data={"token": TOKEN}, headers={"Origin": site.url}, allow_redirects=False
        ) as answer:
            assert answer.status == 303

    visit(tmp_path, use)


def test_guessing_at_the_form_is_stopped_and_does_not_stop_good_bearers(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        for _attempt in range(10):
            async with client.post("/login", data={"token": "<b>guess</b>"}) as answer:
                assert answer.status == 403
                assert "guess" not in await answer.text()
        async with client.post("/login", data={"token": TOKEN}) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
            assert "Too many wrong tokens" in await answer.text()
        async with client.get("/api/overview", headers=AUTHORIZED) as answer:
            assert answer.status == 200

    visit(tmp_path, use)


def test_guessing_bearer_tokens_is_stopped_and_good_ones_still_pass(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        for attempt in range(10):
            async with client.get("/metrics", headers={"Authorization": f"Bearer guess-{attempt}"}) as answer:
                assert answer.status == 401
        async with client.get("/metrics", headers={"Authorization": "Bearer guess"}) as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["reason"] == "TOO_MANY_FAILURES"
        async with client.get("/metrics", headers=AUTHORIZED) as answer:
            assert answer.status == 200

    visit(tmp_path, use)


def test_a_huge_form_is_refused(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.post("/login", data={"token": "x" * 100_000}) as answer:
            assert answer.status == 413

    visit(tmp_path, use)
