"""A state directory that can't be trusted or can't be written: one line says so, with an exit code of its own, and
nothing is half-written; an agent that comes back to a full disk goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rallypoint.token import TokenText, format_token

from agent.cli import EXIT_STATE_DIR
from agent.departure import mark_leaving
from agent.join_exit import JoinExit
from agent.restarting import announce_restart
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


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_what_the_agent_writes_is_its_users_alone_and_nodes_keep_their_umask(tmp_path: Path) -> None:
    state = tmp_path / "state"

    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, state, "h-1", fake.address)
            # As an earlier release left it.
            (state / "spawner.log").touch(0o644)
            async with agent(state) as process:
                # One ends under its spawner, the other as an orphan of it.
                fake.want(any_node("j.0.1", "sh", "-c", "umask; touch here; echo $$; exec sleep 1000"))
                await fake.until(lambda: fake.logs.get("j.0.1", b"").count(b"\n") == 2, "output")
                umask, task = fake.logs["j.0.1"].split()
                assert umask == b"0022"
                found = (state / "work" / "j.0.1" / "here").stat().st_mode & 0o777
                assert found == 0o644
                spawner = process.spawner_pid()
                assert spawner is not None
                os.kill(spawner, signal.SIGKILL)
                os.kill(int(task), signal.SIGKILL)
                await fake.ended("j.0.1")
                announce_restart(state)
                mark_leaving(state, "it goes")
                own = [path for path in state.rglob("*") if path.name != "agent.err" and "work" not in path.parts]
                modes = {path.name: path.stat().st_mode & 0o777 for path in own}
                assert {"lease", "spawner.log", "peer.port", "restarting", "j.0.1.log"} <= modes.keys()
                assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}

    asyncio.run(scenario())


def test_what_root_notes_down_for_an_agent_of_another_user_is_that_users(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "leaving").symlink_to("victim")
    announce_restart(tmp_path)
    mark_leaving(tmp_path, "it goes")
    note = (tmp_path / "restarting").stat()
    assert (note.st_uid, note.st_mode & 0o777) == (1234, 0o600)
    assert (tmp_path / "victim").read_text() == "untouched"
