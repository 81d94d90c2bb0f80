"""A server with canned answers, and a way to run one command line against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordinator.cli.main import run
from tests.fakes.job_server import JobServer


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    with JobServer(tmp_path) as server:
        monkeypatch.setenv("RALLYPOINT_CONTEXT", str(server.context))
        yield server


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Run a command line in this process, through the one handler of failures."""

    def call(*arguments: str) -> Result:
        capfdbinary.readouterr()
        code = run(arguments)
        said = capfdbinary.readouterr()
        return Result(code, said.out.decode(errors="replace"), said.err.decode(errors="replace"))

    return call
