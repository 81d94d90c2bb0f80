"""Interruption notices: what counts as one, and that nothing a provider answers hurts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.config import ConfigError, load
from agent.interruption import NoAnswer, Watcher, ask, is_notice
from agent.notices import Question
from tests.fakes.metadata import metadata
from tests.support import eventually

AZURE = b'{"DocumentIncarnation": 2, "Events": [{"EventType": "Reboot"}, {"EventType": "Preempt"}]}'


@pytest.mark.parametrize(
    ("status", "body", "when", "wanted"),
    [
        (200, b'{"action": "terminate"}', "", True),
        (404, b"", "", False),
        (500, b"TRUE", "=TRUE", False),
        (200, b"TRUE\n", "=TRUE", True),
        (200, b"FALSE", "=TRUE", False),
        (200, AZURE, "Events.*.EventType=Preempt|Terminate", True),
        (200, b'{"Events": []}', "Events.*.EventType=Preempt|Terminate", False),
        (200, b'{"Events": "none"}', "Events.*.EventType=Preempt", False),
        (200, b'{"action": "TERMINATE"}', "action=terminate", True),
        (200, b"<html>", "action=terminate", False),
        (200, b"[" * 60_000, "action=terminate", False),
        (200, b"\xff\xfe", "=TRUE", False),
    ],
)
def test_what_counts_as_a_notice(status: int, body: bytes, when: str, wanted: bool) -> None:
    assert is_notice(status, body, when) is wanted


def test_the_token_that_aws_wants_is_got_and_shown() -> None:
    with metadata() as provider:
        provider.status, provider.body = 200, b"a-token"
        question = Question(f"{provider.url}/latest/x", token_url=f"{provider.url}/latest/api/token")
        assert asyncio.run(ask(question)) == (200, b"a-token")
        (put, _, life), (get, path, headers) = provider.asked
        assert (put, life["X-aws-ec2-metadata-token-ttl-seconds"]) == ("PUT", "300")
        assert (get, path, headers["X-aws-ec2-metadata-token"]) == ("GET", "/latest/x", "a-token")


def test_redirects_and_proxies_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with metadata() as provider, metadata() as other:
        other.status = 200
        provider.status, provider.headers = 302, {"Location": other.url}
        monkeypatch.setenv("http_proxy", other.url)
        status, _ = asyncio.run(ask(Question(provider.url)))
        assert (status, is_notice(status, b"", "")) == (302, False)
        assert other.asked == []


@asynccontextmanager
async def saying(*pieces: bytes, pause: float = 0.0) -> AsyncIterator[str]:
    """A server that answers so, whatever it is asked, and then holds the connection open."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            await asyncio.Event().wait()
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "pause", "why"),
    [
        ((), 0.0, "no answer within 0.5 s"),
        ((HEAD, *(b"x",) * 10_000), 0.1, "no answer within 0.5 s"),
        ((b"HTTP/1.0 200", *(b" ",) * 10_000), 0.1, "no answer within 0.5 s"),
        ((HEAD, *(b"x" * 8192,) * 100), 0.0, "the answer is longer than 64 kB"),
        ((b"x" * 200_000,), 0.0, "found, and|exceed the limit"),
        ((b"SSH-2.0-x\r\n\r\n" + b"x" * 70_000,), 0.0, "does not speak HTTP"),
    ],
)
def test_no_answer_hangs_or_hurts(pieces: tuple[bytes, ...], pause: float, why: str) -> None:
    async def run() -> None:
        async with saying(*pieces, pause=pause) as url:
            began = time.monotonic()
            with pytest.raises(NoAnswer, match=why):
                await ask(Question(url), 0.5)
            assert time.monotonic() - began < 10.0

    asyncio.run(run())


def test_nobody_there_is_no_notice() -> None:
    for url in ("http://127.0.0.1:1/", "http://nobody.invalid/", "https://127.0.0.1:1/"):
        with pytest.raises(NoAnswer):
            asyncio.run(ask(Question(url)))


def test_a_notice_is_gone_when_some_answers_in_a_row_are_none_and_silence_says_nothing() -> None:
    async def run() -> None:
        with metadata() as provider:
            provider.status = 200
            watcher = Watcher(Question(provider.url, every=0.01))
            await watcher.until_noticed()
            gone = asyncio.ensure_future(watcher.until_withdrawn())
            await asyncio.to_thread(eventually, lambda: len(provider.asked) > 10)
            assert not gone.done()
            provider.status = 404
            await gone
            provider.status = 200
            await watcher.until_noticed()

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('interruption_url = "169.254.169.254/latest"', "is not an address to ask at; write http://HOST/PATH"),
        ('interruption_url = "file:///etc/passwd"', "is not an address to ask at"),
        ('interruption_url = "http://me:secret@host/"', "without a user"),
        ('interruption_header = "no header"', "write 'Name: value'"),
        ('interruption_header = "A: b\\r\\nC: d"', "write 'Name: value'"),
        ('interruption_every = "0"', "is not a time"),
        ('leave_within = "soon"', "write a number and s, m or h, like 25s"),
    ],
)
def test_settings_that_can_not_be_are_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "agent.toml").write_text(line + "\n")
    with pytest.raises(ConfigError, match=message):
        load({"state_dir": tmp_path}, {})


def test_settings_that_can_be(tmp_path: Path) -> None:
    lines = ['interruption_url = "http://h/p?x=1"', 'interruption_every = "2s"', 'interruption_header = "A: b"']
    (tmp_path / "agent.toml").write_text("\n".join([*lines, 'interruption_when = "=TRUE"', "leave_within = 90"]))
    found = load({"state_dir": tmp_path}, {})
    assert found.interruption == Question("http://h/p?x=1", 2.0, "A: b", "=TRUE")
    assert found.leave_within == 90.0
    assert load({"state_dir": tmp_path / "other"}, {}).interruption is None
