"""GPUs over many readings: none disappears silently, and none is mistaken for another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.inventory import Inventory
from agent.hardware.model import Gpu, Problem
from tests.unit.agent.hardware.conftest import UNHURRIED, code_of

pytestmark = pytest.mark.timeout(60)

LOST = Problem("gpu-lost", "gone", "look")
HUNG = Problem("nvml-hung", "hung", "wait")


def gpu(index: int, uuid: str | None = None) -> Gpu:
    return Gpu(uuid or f"GPU-{index}", index, name="H100", memory_bytes=80, power_watts=70.0, temperature_c=30)


def told(gpus: tuple[Gpu, ...]) -> list[tuple[str, int, str | None]]:
    return [(g.uuid, g.index, code_of(g)) for g in gpus]


def test_a_nameless_gpu_with_a_problem_is_the_one_last_seen_at_its_index() -> None:
    inventory = Inventory()
    inventory.take([gpu(0), gpu(1)], {}, complete=True)
    after = inventory.take([gpu(0), Gpu("unknown-1", 1, problem=LOST)], {}, complete=True)
    assert told(after) == [("GPU-0", 0, None), ("GPU-1", 1, "gpu-lost")]
    assert (after[1].name, after[1].memory_bytes, after[1].power_watts) == ("H100", 80, None)


def test_indexes_that_move_up_when_a_gpu_vanishes_confuse_nothing() -> None:
    inventory = Inventory()
    inventory.take([gpu(0), gpu(1), gpu(2)], {}, complete=True)
    after = inventory.take([gpu(0), gpu(1, "GPU-2")], {}, complete=True)
    assert told(after) == [("GPU-0", 0, None), ("GPU-1", 1, "gpu-lost"), ("GPU-2", 1, None)]
    assert told(inventory.take([gpu(0), gpu(1), gpu(2)], {}, complete=True)) == [
        ("GPU-0", 0, None),
        ("GPU-1", 1, None),
        ("GPU-2", 2, None),
    ]


def test_a_gpu_with_a_problem_and_a_name_never_takes_over_anothers_values() -> None:
    inventory = Inventory()
    inventory.take([gpu(0)], {}, complete=True)
    after = inventory.take([Gpu("GPU-new", 0, problem=LOST)], {}, complete=True)
    assert [(g.uuid, g.name) for g in after] == [("GPU-0", "H100"), ("GPU-new", None)]


def test_a_placeholder_gives_way_to_the_real_gpu() -> None:
    inventory = Inventory()
    assert told(inventory.take([], {0: HUNG}, complete=True)) == [("unknown-0", 0, "nvml-hung")]
    assert told(inventory.take([gpu(0)], {}, complete=True)) == [("GPU-0", 0, None)]


def test_gpus_that_a_broken_off_reading_did_not_reach_are_unknown_but_not_at_fault() -> None:
    inventory = Inventory()
    inventory.take([gpu(0), gpu(1), gpu(2)], {}, complete=True)
    after = inventory.take([gpu(0)], {1: HUNG}, complete=False)
    assert told(after) == [("GPU-0", 0, None), ("GPU-1", 1, "nvml-hung"), ("GPU-2", 2, None)]
    assert (after[2].name, after[2].temperature_c) == ("H100", None)


@UNHURRIED
@given(st.lists(st.tuples(st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)), st.booleans()), max_size=6))
def test_no_gpu_once_seen_is_ever_missing_or_twice_in_the_list(steps: list[tuple[set[int], set[int], bool]]) -> None:
    inventory, ever = Inventory(), set[str]()
    for there, failing, complete in steps:
        seen = [replace(gpu(i), problem=LOST if i in failing else None) for i in sorted(there)]
        blocked = dict.fromkeys(failing - there, HUNG)
        ever |= {g.uuid for g in seen}
        after = inventory.take(seen, blocked, complete)
        uuids = [g.uuid for g in after]
        assert len(uuids) == len(set(uuids))
        assert ever <= set(uuids)
        assert all(g.problem for g in after if complete and g.index not in there)
        assert all(g.power_watts is None for g in after if g.index not in there)
        assert all(g.problem == HUNG for g in inventory.all_silent(HUNG))


def instance(index: int, place: int) -> Gpu:
    return replace(gpu(index, f"MIG-{index}-{place}"), parent=f"GPU-{index}")


# Each GPU: not answering at all, whole, in MIG mode with so many instances, or failing.
CARDS = st.lists(st.sampled_from(["silent", "whole", "mig-1", "mig-2", "broken", "nameless"]), min_size=3, max_size=3)


def _seen(index: int, how: str) -> list[Gpu]:
    if how == "whole":
        return [gpu(index)]
    if how.startswith("mig"):
        return [instance(index, place) for place in range(int(how[-1]))]
    if how == "broken":
        return [replace(gpu(index), problem=LOST)]
    return [Gpu(f"unknown-{index}", index, problem=LOST)] if how == "nameless" else []


@UNHURRIED
@given(st.lists(CARDS, max_size=5), st.booleans())
def test_a_gpu_and_its_instances_are_never_both_in_the_list_and_what_fails_stays(
    readings: list[list[str]], complete: bool
) -> None:
    inventory = Inventory()
    before: tuple[Gpu, ...] = ()
    for cards in readings:
        seen = [each for index, how in enumerate(cards) for each in _seen(index, how)]
        after = inventory.take(seen, {}, complete)
        for index, how in enumerate(cards):
            was, now = ([g for g in gpus if g.index == index] for gpus in (before, after))
            assert len({g.parent is None for g in now}) <= 1, "a GPU beside its own instances"
            if how in ("silent", "broken", "nameless") and not any(g.uuid.startswith("unknown") for g in was):
                assert {g.uuid for g in was} <= {g.uuid for g in now}, "something vanished without a word"
            if how == "whole" or how.startswith("mig"):
                assert [g.uuid for g in now] == [g.uuid for g in _seen(index, how)]
        before = after
