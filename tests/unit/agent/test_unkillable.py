"""Real processes that even SIGKILL does not end (frozen by a control group): said, and nothing of theirs given away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.spawner.procs import look
from tests.fakes.ice import ice
from tests.fakes.spawner_client import SpawnerClient, spawner
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("options", [(), ("--no-cgroups",)])
def test_a_main_process_that_cannot_be_killed_keeps_its_task(tmp_path: Path, options: tuple[str, ...]) -> None:
    with ice() as frozen, spawner(tmp_path, *options) as client:
        client.spawn("j.0.1", "sleep", "1000")
        pid = int(client.next("started")["pid"])
        frozen.freeze(pid)
        client.stop("j.0.1", grace=0)
        stuck = client.next("stuck")
        assert stuck["reason"] == f"processes that cannot be killed: {pid} (sleep)"
        assert "at_end" not in client.record("j.0.1")
        check_that_it_outlives_its_spawners(client, stuck["reason"])
        frozen.thaw()
        ended = client.next("exited")
        assert (ended["cause"], ended["code"]) == ("stopped", 137)
        assert ended["reason"] == f"asked to; it took longer to end: {stuck['reason']}"


def check_that_it_outlives_its_spawners(client: SpawnerClient, reason: object) -> None:
    client.kill_spawner()
    assert "at_end" not in client.snapshot["j.0.1"]
    assert client.snapshot["j.0.1"]["stuck"] == reason


@pytest.mark.parametrize("options", [(), ("--no-cgroups",)])
def test_one_left_behind_that_cannot_be_killed_keeps_its_task_too(tmp_path: Path, options: tuple[str, ...]) -> None:
    with ice() as frozen, spawner(tmp_path, *options) as client:
        os.mkfifo(tmp_path / "gate")
        client.spawn("j.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & read x < gate; exit 3")
        child = int(client.output("j.0.1"))
        eventually(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n", what="sleep")
        frozen.freeze(child)
        (tmp_path / "gate").write_text("go\n")
        assert client.next("stuck")["reason"] == f"processes that cannot be killed: {child} (sleep)"
        # Others are none the worse for it.
        client.spawn("k.0.1", "exit 5")
        assert client.next("exited")["code"] == 5
        frozen.thaw()
        ended = client.next("exited")
        assert (ended["id"], ended["cause"], ended["code"]) == ("j.0.1", "exit", 3)
        assert f"{child} (sleep)" in ended["reason"]
        assert not getattr(look(child), "alive", False)
