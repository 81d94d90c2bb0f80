"""Interruption notices: a provider says at an address of its own (its metadata service) that it takes the machine back.

The address is asked again and again; the answer is judged by its status and, if told how, by its content. Nothing of it
can hurt: one deadline over everything, a bounded answer, no redirects, no proxies, every failure is "no notice".
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import structlog

from agent.notices import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

ANSWER_SECONDS = 3.0
_LONGEST_ANSWER = 64 << 10
# A notice that is gone is believed to be after so many answers in a row without it.
_WITHDRAWN_AFTER = 3
_AWS_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105 -- a header's name
_AWS_LIFE = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}


class NoAnswer(Exception):
    """The provider's address gave no answer that can be used: the message says why."""


def is_notice(status: int, body: bytes, when: str) -> bool:
    """Whether an answer says that the machine is taken back."""
    if status != 200:
        return False
    if not when:
        return True
    path, _, wanted = when.partition("=")
    text = body.decode(errors="replace").strip()
    if not path:
        return text == wanted
    try:
        found = _at(json.loads(text), path.split("."))
    except (ValueError, RecursionError):
        return False
    return any(str(value).lower() in wanted.lower().split("|") for value in found)


def _at(content: Any, path: list[str]) -> list[Any]:
    """All that stands at ``path``."""
    found = [content]
    for name in path:
        deeper: list[Any] = []
        for each in found:
            if isinstance(each, dict) and name in each:
                deeper.append(each[name])
            elif isinstance(each, list) and name == "*":
                deeper += each
        found = deeper
    return found


class Watcher:
    """Asks until there is a notice."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._silent = False

    async def until_noticed(self) -> None:
        """Return when there is a notice."""
        while True:
            if await self._noticed():
                return
            await asyncio.sleep(self._question.every)

    async def until_withdrawn(self) -> None:
        """Return when the notice is gone: some answers in a row are none."""
        without = 0
        while without < _WITHDRAWN_AFTER:
            await asyncio.sleep(self._question.every)
            without = 0 if self._silent or await self._noticed() else without + 1

    async def _noticed(self) -> bool:
        try:
            status, body = await ask(self._question)
        except NoAnswer as error:
            if not self._silent:
                log.warning("interruption.not_answered", url=self._question.url, reason=str(error))
            self._silent = True
            return False
        if self._silent:
            log.info("interruption.answered", url=self._question.url, status=status)
        self._silent = False
        return is_notice(status, body, self._question.when)


async def ask(question: Question, seconds: float = ANSWER_SECONDS) -> tuple[int, bytes]:
    """Status and content of one answer, which may take so many ``seconds`` in all. Raises NoAnswer."""
    name, _, value = question.header.partition(":")
    headers = {name.strip(): value.strip()} if question.header else {}
    try:
        async with asyncio.timeout(seconds):
            if question.token_url:
                status, token = await _call("PUT", question.token_url, _AWS_LIFE)
                if status != 200 or not token.isascii() or not token.decode().isprintable():
                    raise NoAnswer(f"no token: {question.token_url} answered with status {status}")
                headers[_AWS_TOKEN] = token.decode()
            return await _call("GET", question.url, headers)
    except TimeoutError:
        raise NoAnswer(f"no answer within {seconds:g} s") from None
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from None


async def _call(method: str, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    where = urlsplit(url)
    tls = ssl.create_default_context() if where.scheme == "https" else None
    port = where.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(where.hostname, port, ssl=tls, limit=_LONGEST_ANSWER)
    try:
        # 1.0: the answer comes in one piece and ends with the connection.
        lines = [f"{method} {_path(where)} HTTP/1.0", f"Host: {where.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        while len(body) <= _LONGEST_ANSWER and (piece := await reader.read(_LONGEST_ANSWER)):
            body += piece
    finally:
        writer.transport.abort()
    words = head.split(b"\r\n", 1)[0].split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NoAnswer("what answers there does not speak HTTP")
    if len(body) > _LONGEST_ANSWER:
        raise NoAnswer(f"the answer is longer than {_LONGEST_ANSWER >> 10} kB")
    return int(words[1]), body


def _path(where: SplitResult) -> str:
    return (where.path or "/") + (f"?{where.query}" if where.query else "")
