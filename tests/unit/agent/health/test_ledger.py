"""Evidence is kept until the coordinator has it: over restarts, in order, with numbers that never come twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rallypoint.v1 import types_pb2 as types

from agent.health import ledger as module
from agent.health.ledger import MOST, Ledger
from agent.health.model import Evidence, Sign
from coordinator.core import evidence as coordinators
from tests.unit.agent.hardware.conftest import UNHURRIED
from tests.unit.agent.health.conftest import WALL

if TYPE_CHECKING:
    from pathlib import Path


def xid(code: int) -> Evidence:
    return Evidence("GPU-0", Sign.XID, code, "", at=float(code))


def again(before: Ledger, folder: Path, now: float = 0.0, wall: float = WALL) -> Ledger:
    before.save(before.content())
    return Ledger(folder, now, wall)


def test_signs_have_the_protocols_numbers() -> None:
    names = {name.removeprefix("HEALTH_SIGN_"): number for name, number in types.HealthSign.items() if number}
    assert names == {sign.name: sign.value for sign in Sign}
    assert {sign.name for sign in coordinators.Sign} == {*names, "OTHER"}


def test_nothing_is_told_before_it_is_known_which_number_comes_next(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.0, WALL)
    ledger.add(xid(31))
    assert ledger.unreported(10) == []
    ledger.number_from(57)
    assert [(e.code, e.sequence) for e in ledger.unreported(10)] == [(31, 58)]
    ledger.add(xid(79))
    assert [(e.code, e.sequence) for e in ledger.unreported(10)] == [(31, 58), (79, 59)]


@settings(UNHURRIED, max_examples=60)
@given(st.lists(st.sampled_from(["add", "ack", "restart", "lose", "session"]), max_size=30))
def test_all_evidence_arrives_in_order_and_no_number_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger, taken, added = Ledger(folder, 0.0, WALL), {}, 0
    for step in [*steps, "session", "ack"]:
        match step:
            case "add":
                added += 1
                ledger.add(xid(added))
            case "restart":
                ledger = again(ledger, folder)
            case "lose":
                # A report that arrived, but whose answer was lost.
                taken |= {e.sequence: e.code for e in ledger.unreported(2)}
            case "session":
                ledger.number_from(max(taken, default=0))
            case "ack":
                told = ledger.unreported(1000)
                assert all(taken.get(e.sequence, e.code) == e.code for e in told)
                taken |= {e.sequence: e.code for e in told}
                ledger.acknowledge(max(taken, default=0))
    assert [taken[number] for number in sorted(taken)] == list(range(1, added + 1))


def test_a_host_that_lost_its_state_goes_on_counting_where_the_coordinator_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new", 0.0, WALL)
    ledger.number_from(1000)
    ledger.add(xid(48))
    assert ledger.unreported(1)[0].sequence == 1001


def test_times_hold_over_a_reboot_and_a_clock_that_was_set(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 5000.0, WALL)
    ledger.add(xid(4000))
    later = again(ledger, tmp_path, now=10.0, wall=WALL + 100)
    later.number_from(0)
    assert later.unreported(1)[0].at == pytest.approx(10.0 - 1100.0)
    backwards = again(later, tmp_path, now=10.0, wall=WALL - 9999)
    backwards.number_from(0)
    assert backwards.unreported(1)[0].at == 10.0


def test_of_too_much_the_oldest_goes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.0, WALL)
    ledger.number_from(0)
    for number in range(MOST + 5):
        ledger.add(xid(number))
    assert [e.code for e in ledger.unreported(MOST * 2)] == list(range(5, MOST + 5))
    assert len(ledger.content()) < 200_000


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"last": "x"}', b"\xff"])
def test_a_file_that_is_damaged_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "health.json").write_bytes(content)
    ledger = Ledger(tmp_path, 0.0, WALL)
    ledger.add(xid(13))
    later = again(ledger, tmp_path)
    later.number_from(0)
    assert [e.code for e in later.unreported(10)] == [13]


def test_a_disk_that_takes_nothing_costs_no_more_than_the_memory_of_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "gone", 0.0, WALL)
    ledger.number_from(0)
    ledger.add(xid(13))
    ledger.save(ledger.content())
    assert [e.code for e in ledger.unreported(1)] == [13]
    assert not (tmp_path / "gone").exists()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.0, WALL)
    ledger.save(ledger.content())
    assert (tmp_path / module._FILE).stat().st_mode & 0o777 == 0o600
