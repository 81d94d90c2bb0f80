"""Directories and files that are used again: only those that are as good as new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.core.model import AllocationId
from agent.places import Places
from agent.spares import MOST, Spares

ONE, TWO = AllocationId("j-1.0.1"), AllocationId("j-1.1.1")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path)
    found.make()
    return found


def test_an_empty_directory_becomes_another_nodes(places: Places) -> None:
    before = os.stat(places.make_work(ONE)).st_ino
    places.drop_work(ONE)
    assert not os.path.exists(places.work_of(ONE))
    assert os.stat(places.make_work(TWO)).st_ino == before
    assert os.listdir(places.work_of(TWO)) == []


def test_a_directory_with_something_in_it_stays_its_nodes(places: Places) -> None:
    (Path(places.make_work(ONE)) / "result").touch()
    places.drop_work(ONE)
    assert os.listdir(places.work_of(ONE)) == ["result"]
    assert os.listdir(places.make_work(TWO)) == []


def test_a_directory_that_others_may_read_is_not_used_again(places: Places) -> None:
    os.chmod(places.make_work(ONE), 0o755)
    places.drop_work(ONE)
    assert os.listdir(places.work) == []
    assert os.stat(places.make_work(TWO)).st_mode & 0o777 == 0o700


def test_an_empty_log_becomes_another_nodes(places: Places) -> None:
    path = places.lay_log(ONE)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    before = os.stat(path).st_ino
    places.drop_log(ONE)
    assert os.stat(places.lay_log(TWO)).st_ino == before


def test_a_log_that_someone_still_has_open_is_not_used_again(places: Places) -> None:
    """What is written there would be told as another node's."""
    stray = os.open(places.lay_log(ONE), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        places.drop_log(ONE)
        assert not os.path.exists(places.lay_log(TWO))
    finally:
        os.close(stray)


def test_a_log_that_is_there_is_never_replaced(places: Places) -> None:
    os.close(os.open(places.log_of(ONE), os.O_WRONLY | os.O_CREAT, 0o600))
    places.drop_log(ONE)
    Path(places.log_of(TWO)).write_text("said\n")
    assert Path(places.lay_log(TWO)).read_text() == "said\n"


def test_a_new_life_begins_without_and_a_few_are_enough(tmp_path: Path) -> None:
    spares = Spares(tmp_path, os.geteuid())
    for number in range(MOST + 1):
        os.mkdir(tmp_path / f"d{number}", 0o700)
    kept = [spares.keep_directory(str(tmp_path / f"d{number}")) for number in range(MOST + 1)]
    assert kept == [True] * MOST + [False]
    again = Spares(tmp_path, os.geteuid())
    again.open()
    assert os.listdir(tmp_path) == [f"d{MOST}"]
    assert not again.use_directory(str(tmp_path / "x"))
