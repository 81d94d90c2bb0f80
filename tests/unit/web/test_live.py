"""Live documents and live output, as they go over the wire."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.core.model import HostState, JobState
from coordinator.gaps import Gap
from coordinator.web.documents import Page
from coordinator.web.live import Live
from coordinator.web.logs import TAIL
from coordinator.web.stream import MAX_STREAMS, Event, Streams
from tests.fakes.reader import FakeReader, host, job, node
from tests.fakes.site import AUTHORIZED, TOKEN, Site
from tests.unit.web.test_http import visit

pytestmark = pytest.mark.timeout(30)

STREAM = {**AUTHORIZED, "Accept": "text/event-stream"}


async def next_event(answer: ClientResponse) -> tuple[str, str, str]:
    """The next event's name, data and id; an empty name at the end of the stream."""
    event = {"event": "", "data": "", "id": ""}
    while line := (await answer.content.readline()).decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name in event:
            event[name] = value
        elif line == "\n" and event["event"]:
            break
    return event["event"], event["data"], event["id"]


async def next_document(answer: ClientResponse, expected: str) -> dict[str, Any]:
    name, data, _ = await next_event(answer)
    assert name == expected
    document: dict[str, Any] = json.loads(data)
    return document


def test_a_snapshot_then_only_what_changes(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        for number in range(3):
            await site.reader.put_host(host(number))
        async with client.get("/api/events", headers=STREAM) as answer:
            assert answer.content_type == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-store"
            snapshot = await next_document(answer, "snapshot")
            assert len(snapshot["hosts"]) == 3
            await site.reader.put_host(host(1, state=HostState.LOST))
            change = await next_document(answer, "change")
            assert [item["state"] for item in change["hosts"]["changed"]] == ["lost"]
            assert "order" not in change["hosts"]
            assert "jobs" not in change
            await site.reader.put_job(job(1))
            change = await next_document(answer, "change")
            assert change["jobs"]["order"] == ["j-1"]

    visit(tmp_path, use)


def test_a_burst_of_changes_is_one_change_and_one_look_for_all_who_watch() -> None:
    async def run() -> None:
        reader = FakeReader()
        live = Live(reader, pause=0.05)
        streams = [live.overview(Page()) for _ in range(20)]
        for stream in streams:
            assert (await anext(stream)).name == "snapshot"
        following = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.gather(*(reader.put_host(host(number)) for number in range(100)))
        before = reader.overviews
        for event in await asyncio.gather(*following):
            assert len(json.loads(event.data)["hosts"]["changed"]) == 50
        assert reader.overviews - before <= 3

    asyncio.run(run())


def test_a_change_that_this_page_does_not_show_sends_nothing(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        first, second = job(1), job(2)
        await site.reader.put_job(first)
        await site.reader.put_job(second)
        async with client.get("/api/jobs/job-1/events", headers=STREAM) as answer:
            await next_document(answer, "snapshot")
            await site.reader.put_job(second, node(second, 0))
            await site.reader.put_job(first, node(first, 3))
            change = await next_document(answer, "change")
            assert [item["rank"] for item in change["nodes"]["changed"]] == [3]
            await site.reader.forget_job(first.job.id)
            assert (await next_event(answer))[0] == "gone"
            assert (await next_event(answer))[0] == ""

    visit(tmp_path, use)


def test_streams_end_at_once_when_the_server_stops(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        async with (
            client.get("/api/events", headers=STREAM) as events,
            client.get("/api/jobs/j-1/logs", headers=STREAM) as logs,
        ):
            assert (await next_event(events))[0] == "snapshot"
            assert (await next_event(logs))[0] == "start"
            assert site.runner is not None
            async with asyncio.timeout(1.5):  # less than the runner's own limit
                await site.runner.cleanup()
            assert (await next_event(events))[0] == ""
            assert (await next_event(logs))[0] == ""

    visit(tmp_path, use)


def test_a_stream_beats_and_ends_when_its_right_does() -> None:
    async def run() -> None:
        allowed: list[object | None] = [object(), object(), None]

        async def still_allowed(_: web.Request) -> object | None:
            return allowed.pop(0)

        async def nothing() -> Any:
            await asyncio.Event().wait()
            yield Event("never", "{}")

        streams = Streams(still_allowed, beat=0.02)

        async def serve(request: web.Request) -> web.StreamResponse:
            return await streams.serve(request, nothing())

        app = web.Application()
        app.router.add_get("/", serve)
        async with TestClient(TestServer(app)) as client, client.get("/") as answer:
            text = await answer.text()
        assert text == "retry: 1000\n\n: beat\n\n: beat\n\nevent: signed-out\ndata: {}\n\n"
        assert streams.open == 0

    asyncio.run(run())


def test_too_many_streams_are_refused() -> None:
    async def run() -> None:
        async def nobody(_: web.Request) -> object | None:
            return None

        streams = Streams(nobody)
        streams.open = MAX_STREAMS

        async def serve(request: web.Request) -> web.StreamResponse:
            return await streams.serve(request, Live(FakeReader()).overview(Page()))

        app = web.Application()
        app.router.add_get("/", serve)
        async with TestClient(TestServer(app)) as client, client.get("/") as answer:
            assert (answer.status, answer.reason) == (503, "Too many live views are open; close some")
        assert streams.open == MAX_STREAMS

    asyncio.run(run())


def test_output_arrives_as_the_bytes_that_were_written(tmp_path: Path) -> None:
    every_byte = bytes(range(256))

    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        await site.logs.append("j-1", 2, every_byte)
        async with client.get("/api/jobs/j-1/logs?rank=2", headers=STREAM) as answer:
            assert json.loads((await next_event(answer))[1])["offset"] == 0
            name, data, position = await next_event(answer)
            assert (name, base64.b64decode(data), position) == ("output", every_byte, "256")
            await site.logs.append("j-1", 2, b"more", complete=True)
            assert base64.b64decode((await next_event(answer))[1]) == b"more"
            assert (await next_event(answer))[0] == "end"
        resumed = {**STREAM, "Last-Event-ID": "256"}
        async with client.get("/api/jobs/j-1/logs?rank=2", headers=resumed) as answer:
            assert json.loads((await next_event(answer))[1])["offset"] == 256
            assert base64.b64decode((await next_event(answer))[1]) == b"more"
        async with client.get("/api/jobs/j-1/logs?rank=2", headers=AUTHORIZED) as answer:
            assert await answer.read() == every_byte + b"more"
            assert answer.content_type == "application/octet-stream"
            assert answer.headers["Content-Disposition"] == 'attachment; filename="job-1-2.log"'

    visit(tmp_path, use)


def test_a_gap_is_an_event_and_a_line_in_the_download(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        site.logs.gaps["j-1", 0] = Gap(3, 10, "the host's log limit")
        await site.logs.append("j-1", 0, b"one....... two", complete=True)
        async with client.get("/api/jobs/j-1/logs", headers=STREAM) as answer:
            names = [await next_event(answer) for _ in range(5)]
        assert [name for name, _, _ in names] == ["start", "output", "dropped", "output", "end"]
        expected = {"version": 1, "offset": 3, "dropped_bytes": 7, "drop_reason": "the host's log limit"}
        assert (json.loads(names[2][1]), names[2][2]) == (expected, "10")
        async with client.get("/api/jobs/j-1/logs", headers=AUTHORIZED) as answer:
            assert await answer.text() == "one\n[7 bytes of output dropped here: the host's log limit]\n two"

    visit(tmp_path, use)


def test_only_the_end_of_much_output_is_shown_at_once(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1))
        await site.logs.append("j-1", 0, b"x" * (TAIL + 1000), complete=True)
        async with client.get("/api/jobs/j-1/logs", headers=STREAM) as answer:
            assert json.loads((await next_event(answer))[1])["offset"] == 1000
        # A position from a longer former attempt is not waited for.
        async with client.get("/api/jobs/j-1/logs?from=99999999", headers=STREAM) as answer:
            assert json.loads((await next_event(answer))[1])["offset"] == 1000

    visit(tmp_path, use)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("rank=4", "job 'job-1' has no rank 4; its ranks are 0 to 3"),
        ("rank=x", "rank='x'"),
        ("rank=0&from=-1", "from="),
    ],
)
def test_wrong_log_requests_are_named(tmp_path: Path, query: str, words: str) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_job(job(1, JobState.DONE))
        async with client.get(f"/api/jobs/j-1/logs?{query}", headers=STREAM) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["error"]["message"]

    visit(tmp_path, use)


def test_an_open_session_is_enough_for_streams(tmp_path: Path) -> None:
    async def use(_: Site, client: ClientSession) -> None:
        async with client.post("/login", data={"token": TOKEN}):
            pass
        async with client.get("/api/events") as answer:
            assert (await next_event(answer))[0] == "snapshot"

    visit(tmp_path, use)
