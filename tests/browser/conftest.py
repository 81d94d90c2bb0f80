"""A real Chromium against the real web application, with fakes behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.fakes.site import TOKEN, Site, serving
from tests.support import missing

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


class RunningSite(Site):
    """A site served by a thread of its own; the test changes it through ``do``."""

    loop: asyncio.AbstractEventLoop

    def do(self, change: Coroutine[Any, Any, Any]) -> Any:
        """Run ``change`` in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(change, self.loop).result(timeout=10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningSite]:
    """A served site without hosts or jobs."""
    started: Future[RunningSite] = Future()
    stop: Future[asyncio.Event] = Future()

    async def serve() -> None:
        running, end = RunningSite(), asyncio.Event()
        running.loop = asyncio.get_running_loop()
        stop.set_result(end)
        async with serving(tmp_path, running):
            started.set_result(running)
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running = started.result(timeout=20)
    yield running
    running.loop.call_soon_threadsafe(stop.result().set)
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser process for a module: Playwright keeps an event loop running in this thread until it is left, and
    other tests need to run their own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright", "install the 'dev' extra")
    path = which("chromium") or which("chromium-browser") or which("google-chrome")
    if path is None:
        missing("chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, site: RunningSite) -> Iterator[Any]:
    """A signed-out page; errors of its scripts and refusals of its policy fail the test."""
    # The CA is the test's own, and chromium has no flag to trust one.
    context = chromium.new_context(base_url=site.url, ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(10_000)
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda line: problems.append(line.text) if "Security Policy" in line.text else None)
    yield made
    context.close()
    assert problems == []


@pytest.fixture
def signed_in(page: Any) -> Any:
    """The page, signed in and at the overview."""
    page.goto("/login")
    page.fill("#token", TOKEN)
    page.click("main button")
    page.wait_for_selector("#live[data-state=ok]")
    return page
