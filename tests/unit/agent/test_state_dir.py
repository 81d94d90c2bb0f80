"""A state directory that can't be trusted or can't be written: one line says so, with an exit code of its own, and
nothing is half-written; an agent that comes back to a full disk goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rallypoint.token import TokenText, format_token

from agent.cli import EXIT_STATE_DIR
from agent.join_exit import JoinExit
from coordinator.access.ca import load_or_create
from tests.fakes.agent_coordinator import any_node, coordinator, enrol
from tests.fakes.agent_process import agent, lives
from tests.fakes.join_server import JoinServer
from tests.fakes.small_disk import fill, mounted

pytestmark = pytest.mark.timeout(60)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)


def link(state: Path) -> None:
    (state / "logs").symlink_to("/etc")


def link_to_the_key(state: Path) -> None:
    (state / "credentials.pem").rename(state.parent / "key")
    (state / "credentials.pem").symlink_to(state.parent / "key")


def open_to_all(state: Path) -> None:
    state.chmod(0o777)


def somebody_elses(state: Path) -> None:
    os.chown(state, 1234, 1234)


def somebody_elses_file(state: Path) -> None:
    (state / "lease").touch()
    os.chown(state / "lease", 1234, 1234)


SPOILT: list[tuple[Callable[[Path], None], str]] = [
    (link, "logs is a symbolic link, and nothing of ours is one: remove it"),
    (link_to_the_key, "credentials.pem is a symbolic link"),
    (open_to_all, "can be written by other users: look at what is in it, then run 'chmod 700 "),
    (somebody_elses, "belongs to another user (number 1234): run this as that user"),
    (somebody_elses_file, "lease belongs to another user"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk") as directory:
        yield directory


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_state_directory_that_others_had_their_hands_in_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    state = tmp_path / "state"

    async def enrolled() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, state, "h-1", fake.address)

    asyncio.run(enrolled())
    spoil(state)
    before = sorted(os.listdir(state))
    refused = run("run", "--state-dir", str(state))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (EXIT_STATE_DIR, 1), refused.stderr
    assert said in refused.stderr
    assert sorted(os.listdir(state)) == before
    joined = run("join", "127.0.0.1:1", "--token-file", str(_token(tmp_path)), "--state-dir", str(state))
    assert (joined.returncode, said in joined.stderr) == (JoinExit.STATE_DIR, True), joined.stderr


def _token(folder: Path) -> Path:
    path = folder / "token"
    path.touch(0o600)
    path.write_text(format_token(TokenText("a" * 12, "b" * 43, "c" * 8, "d" * 32)))
    return path


def test_a_token_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = _token(tmp_path)
    os.chown(path, 1234, 1234)
    refused = run("join", "127.0.0.1:1", "--token-file", str(path), "--state-dir", str(tmp_path / "state"))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (JoinExit.TOKEN_UNREADABLE, 1)
    assert "belongs to another user (number 1234): use one of your own" in refused.stderr
    assert not (tmp_path / "state").exists()


def test_a_read_only_disk_is_told_and_left_as_it_is(tmp_path: Path, disk: Path) -> None:
    async def enrolled() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, disk / "state", "h-1", fake.address)

    asyncio.run(enrolled())
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    token = ("--token-file", str(_token(tmp_path)))
    for words, code in (
        (("run", "--state-dir", str(disk / "state")), EXIT_STATE_DIR),
        (("join", "127.0.0.1:1", *token, "--state-dir", str(disk / "new")), JoinExit.STATE_DIR),
    ):
        refused = run(*words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (code, 1), refused.stderr
        assert "Read-only file system" in refused.stderr
    started = run("start", "--state-dir", str(disk / "state"))
    assert (started.returncode, len(started.stderr.splitlines())) == (1, 1), started.stderr
    assert "Read-only file system" in started.stderr


def test_a_host_can_not_join_on_a_full_disk_and_nothing_is_half_written(tmp_path: Path, disk: Path) -> None:
    authority = load_or_create(tmp_path / "ca", time.time())
    with JoinServer(authority, tmp_path) as server:
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(server.new_token())
        fill(disk / "ballast")
        refused = run("join", server.address, "--token-file", str(token), "--state-dir", str(disk / "state"))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (JoinExit.STATE_DIR, 1), refused.stderr
    assert "No space left on device" in refused.stderr
    assert [path for path in disk.rglob("*") if path.is_file() and path.name != "ballast"] == []


def test_an_agent_that_comes_back_to_a_full_disk_goes_on_with_its_tasks(tmp_path: Path, disk: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, disk / "state", "h-1", fake.address)
            async with agent(disk / "state") as process:
                fake.want(any_node("j.0.1", "sh", "-c", "echo $$; exec sleep 1000"))
                await fake.until(lambda: fake.logs.get("j.0.1", b"").endswith(b"\n"), "output")
                task = int(fake.logs["j.0.1"])
                fill(disk / "ballast")
                await process.kill()
                before = len(fake.reports)
                await process.start()
                await fake.until(lambda: len(fake.reports) > before + 2, "reports of the next agent")
                assert lives(task)

    asyncio.run(scenario())
