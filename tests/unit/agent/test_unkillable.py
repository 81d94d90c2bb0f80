"""Real processes that even SIGKILL does not end (frozen by a control group): said, and nothing of theirs given away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.spawner.procs import look
from tests.fakes.ice import ice
from tests.fakes.spawner_client import SpawnerClient, spawner
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


@contextmanager
def spawners(folder: Path) -> Iterator[list[SpawnerClient]]:
    """One that makes control groups and one that does not, side by side: both wait a while before they say "stuck"."""
    with ExitStack() as stack:
        made = []
        for name, options in (("grouped", ()), ("marked", ("--no-cgroups",))):
            (folder / name).mkdir()
            made.append(stack.enter_context(spawner(folder / name, *options)))
        yield made


def test_a_main_process_that_cannot_be_killed_keeps_its_task(tmp_path: Path) -> None:
    with ice() as frozen, spawners(tmp_path) as clients:
        for client in clients:
            client.spawn("j.0.1", "sleep", "1000")
        pids = [int(client.next("started")["pid"]) for client in clients]
        for pid in pids:
            frozen.freeze(pid)
        for client in clients:
            client.stop("j.0.1", grace=0)
        for client, pid in zip(clients, pids, strict=True):
            reason = client.next("stuck")["reason"]
            assert reason == f"processes that cannot be killed: {pid} (sleep)"
            assert "at_end" not in client.record("j.0.1")
            check_that_it_outlives_its_spawners(client, reason)
        frozen.thaw()
        for client, pid in zip(clients, pids, strict=True):
            ended = client.next("exited")
            assert (ended["cause"], ended["code"]) == ("stopped", 137)
            told = f"asked to; it took longer to end: processes that cannot be killed: {pid} (sleep)"
            assert ended["reason"] == told


def check_that_it_outlives_its_spawners(client: SpawnerClient, reason: object) -> None:
    client.kill_spawner()
    assert "at_end" not in client.snapshot["j.0.1"]
    assert client.snapshot["j.0.1"]["stuck"] == reason


def test_one_left_behind_that_cannot_be_killed_keeps_its_task_too(tmp_path: Path) -> None:
    with ice() as frozen, spawners(tmp_path) as clients:
        children = [left_behind(client) for client in clients]
        for child in children:
            frozen.freeze(child)
        for client in clients:
            (client.directory / "gate").write_text("go\n")
        for client, child in zip(clients, children, strict=True):
            assert client.next("stuck")["reason"] == f"processes that cannot be killed: {child} (sleep)"
            # Others are none the worse for it.
            client.spawn("k.0.1", "exit 5")
            assert client.next("exited")["code"] == 5
        frozen.thaw()
        for client, child in zip(clients, children, strict=True):
            ended = client.next("exited")
            assert (ended["id"], ended["cause"], ended["code"]) == ("j.0.1", "exit", 3)
            assert f"{child} (sleep)" in ended["reason"]
            assert not getattr(look(child), "alive", False)


def left_behind(client: SpawnerClient) -> int:
    """A child of a task whose main process ends with 3 as soon as somebody writes into its gate."""
    os.mkfifo(client.directory / "gate")
    client.spawn("j.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & read x < gate; exit 3")
    child = int(client.output("j.0.1"))
    eventually(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n", what="sleep")
    return child
