"""Orders that wait behind a task in the spawner: alone, and in a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.spawner.waiting import NOT_FREE, NOT_WELL, TOO_LONG, Waiting
from tests.fakes.spawner_client import SpawnerClient


def order(key: str) -> dict[str, object]:
    return {"id": key}


@pytest.fixture
def chain() -> Waiting:
    """``b`` behind the living ``a``, and ``c`` behind ``b``."""
    waiting = Waiting()
    waiting.put_behind(order("b"), "a", 10.0)
    waiting.put_behind(order("c"), "b", 10.0)
    return waiting


def test_each_is_due_when_that_before_it_has_ended_well(chain: Waiting) -> None:
    assert chain.take(9) == []
    chain.over("a", True)
    assert chain.take(9) == [order("b")]
    chain.over("b", True)
    assert chain.take(9) == [order("c")]
    assert not chain


def test_all_that_waits_behind_a_failure_is_given_back(chain: Waiting) -> None:
    chain.over("a", False)
    assert chain.returned == [("b", NOT_WELL), ("c", NOT_WELL)]
    assert not chain


def test_what_waits_for_too_long_is_given_back_with_all_behind_it(chain: Waiting) -> None:
    chain.give_back_late(9.0)
    assert chain.next_end() == 10.0
    chain.give_back_late(10.0)
    assert dict(chain.returned) == {"b": TOO_LONG, "c": NOT_WELL}
    chain.over("a", True)
    assert chain.take(9) == []


def test_only_one_can_have_what_another_leaves(chain: Waiting) -> None:
    chain.put_behind(order("d"), "a", 10.0)
    assert chain.returned == [("d", NOT_FREE)]
    chain.over("a", True)
    assert chain.take(9) == [order("b")]


# ---------------------------------------------------------------- a real spawner


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[SpawnerClient]:
    client = SpawnerClient(tmp_path)
    client.start()
    yield client
    client.kill()


def test_a_task_begins_right_behind_another_one(spawner: SpawnerClient, tmp_path: Path) -> None:
    spawner.spawn("a", "sleep 0.1; echo a >> out")
    spawner.spawn("b", "sleep 0.1; echo b >> out", behind="a", within=20.0)
    spawner.spawn("c", "echo c >> out", behind="b", within=20.0)
    assert spawner.next("exited", "c")["code"] == 0
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"


def test_nothing_begins_behind_a_failure(spawner: SpawnerClient, tmp_path: Path) -> None:
    spawner.spawn("a", "exec sleep 60")
    spawner.spawn("b", "echo b >> out", behind="a", within=60.0)
    spawner.next("started", "a")
    spawner.stop("a", "KILL")
    assert spawner.next("returned", "b")["reason"] == NOT_WELL
    spawner.spawn("c", "echo c >> out", behind="a", within=60.0)
    assert spawner.next("returned", "c")["reason"] == NOT_WELL
    assert not (tmp_path / "out").exists()


def test_a_task_that_waits_for_too_long_is_given_back_and_never_begins(spawner: SpawnerClient, tmp_path: Path) -> None:
    spawner.spawn("a", "exec sleep 60")
    spawner.spawn("b", "echo b >> out", behind="a", within=0.05)
    assert spawner.next("returned", "b")["reason"] == TOO_LONG
    spawner.stop("a")
    spawner.next("exited", "a")
    assert not (tmp_path / "out").exists()


def test_a_task_that_is_stopped_while_it_waits_never_begins(spawner: SpawnerClient, tmp_path: Path) -> None:
    spawner.spawn("a", "exec sleep 60")
    spawner.spawn("b", "echo b >> out", behind="a", within=60.0)
    spawner.spawn("c", "echo c >> out", behind="b", within=60.0)
    spawner.stop("b")
    assert spawner.next("exited", "b")["cause"] == "stopped"
    assert spawner.next("returned", "c")["reason"] == NOT_WELL
    spawner.stop("a")
    spawner.next("exited", "a")
    assert not (tmp_path / "out").exists()


def test_what_waits_is_forgotten_with_the_daemon_that_ordered_it(spawner: SpawnerClient, tmp_path: Path) -> None:
    spawner.spawn("a", "exec sleep 60")
    spawner.spawn("b", "echo b >> out", behind="a", within=60.0)
    spawner.next("started", "a")
    spawner.disconnect()
    spawner.connect()
    assert spawner.snapshot.keys() == {"a"}
    spawner.stop("a", grace=0.0)
    spawner.next("exited", "a")
    assert not (tmp_path / "out").exists()
