"""Runs a command of a runtime's: bounded in time and in what is kept of its output, and gone when nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Of what a command says so many bytes are kept.
_KEPT = 1 << 20
NO_ANSWER = 124


@dataclass(frozen=True, slots=True)
class Answer:
    """How it ended; ``out`` is its output, ``err`` the last line of its errors that is not empty, ``errors`` all."""

    code: int
    out: str = ""
    err: str = ""
    errors: str = ""


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    seconds: float,
    on_line: Callable[[str], None] | None = None,
) -> Answer:
    """Run ``argv`` for at most ``seconds``; ``on_line`` hears of each line that it says meanwhile."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        return Answer(127, err=f"{argv[0]}: {error.strerror}")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(seconds):
            out, err = await asyncio.gather(_lines(process.stdout, on_line), _lines(process.stderr, on_line))
            code = await process.wait()
    except TimeoutError:
        return Answer(NO_ANSWER, err=f"{argv[0]} did not answer within {seconds:g} s")
    finally:
        if process.returncode is None:
            # All of it: a pull may have helpers.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    last = next((line for line in reversed(err.splitlines()) if line.strip()), "")
    return Answer(code, out, last.strip().removeprefix("Error: "), err)


def ending(text: str, most: int) -> str:
    """The end of what a program said, at most so many characters from a word on: the cause comes last."""
    if len(text) <= most:
        return text
    kept = text[1 - most :]
    return "…" + (kept.partition(" ")[2] or kept)


async def _lines(reader: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> str:
    """All that comes, the end of it if it is much; progress bars end their lines with a carriage return."""
    kept = ""
    while data := await reader.read(1 << 16):
        text = data.decode(errors="replace").replace("\r", "\n")
        kept = (kept + text)[-_KEPT:]
        if on_line is not None:
            for line in filter(None, map(str.strip, text.split("\n"))):
                on_line(line)
    return kept
