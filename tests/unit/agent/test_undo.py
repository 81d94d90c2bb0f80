"""What a task leaves outside of its processes: it is over when that is undone, whatever becomes of the spawner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.spawner import undo
from tests.fakes.spawner_client import PATH, SpawnerClient, spawner
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SpawnerClient]:
    with spawner(tmp_path) as made:
        yield made


def undoing(script: str) -> dict[str, object]:
    return {"argv": ["sh", "-c", script], "env": {"PATH": PATH}}


def test_it_is_tried_until_it_succeeds_and_only_then_is_the_task_over(client: SpawnerClient, tmp_path: Path) -> None:
    tries, may = tmp_path / "tries", tmp_path / "may"
    client.spawn("j.0.1", "exit 3", undo=undoing(f"echo >>{tries}; [ -e {may} ]"))
    eventually(lambda: tries.exists() and tries.read_text() == "\n\n", what="two tries")
    assert "at_end" not in client.record("j.0.1")
    may.touch()
    ended = client.next("exited")
    assert (ended["code"], ended["cause"], ended["reason"]) == (3, "exit", "")


def test_the_next_spawner_sees_to_it(client: SpawnerClient, tmp_path: Path) -> None:
    may, undone = tmp_path / "may", tmp_path / "undone"
    client.spawn("j.0.1", "exit 3", undo=undoing(f"[ -e {may} ] && echo >>{undone}"))
    client.next("started")
    eventually(lambda: client.record("j.0.1").get("code") == 3, what="end of the main process")
    # No process is left for whose sake a reaper would start another one: whoever comes next does.
    client.kill()
    may.touch()
    client.start()
    assert client.end_of("j.0.1")["code"] == 3
    assert undone.read_text() == "\n"


def test_it_comes_after_a_kill_too_and_is_not_killed_itself(client: SpawnerClient, tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    client.spawn("j.0.1", "trap '' TERM; echo deaf; while :; do sleep 1; done", undo=undoing(f"sleep 0.3; : >{undone}"))
    assert client.output("j.0.1") == "deaf\n"
    client.stop("j.0.1", grace=0.1)
    ended = client.next("exited")
    assert (ended["code"], ended["cause"]) == (137, "stopped")
    assert undone.exists()


def test_what_cannot_be_undone_is_said(client: SpawnerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = undo.Task("j", "m", 1, 0, "", "TERM", 0.0)
    task.undo = {"argv": ["sh"], "env": {}}
    said: list[str] = []
    one = undo.Undo(None, None, lambda *_: None, lambda _, reason: said.append(reason), 0)  # type: ignore[arg-type]
    task.undo_pid, task.undo_until = 1, 0.0
    assert one.is_pending(task)
    assert said == ["its removal (sh) does not answer"]


@pytest.mark.parametrize(
    ("note", "cause", "reason"),
    [
        (
            {"cause": "out_of_memory", "reason": "out of memory: limit 1 GB"},
            "out_of_memory",
            "out of memory: limit 1 GB",
        ),
        ({"cause": "stopped", "reason": "no such cause"}, "exit", ""),
        ("nonsense", "exit", ""),
    ],
)
def test_a_main_process_may_say_more_than_a_code(
    client: SpawnerClient, tmp_path: Path, note: object, cause: str, reason: str
) -> None:
    path = tmp_path / "note"
    path.write_text(json.dumps(note))
    client.spawn("j.0.1", "exit 9", note=str(path))
    ended = client.next("exited")
    assert (ended["code"], ended["cause"], ended["reason"]) == (9, cause, reason)
