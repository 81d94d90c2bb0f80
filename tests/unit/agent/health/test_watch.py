"""What readings and events of NVML become: conditions that hold, evidence told once, of the right GPU and node."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.model import AllocationId, Desired, Observed, Phase, Spec, Wanted
from agent.hardware import GpuEvent, Problem
from agent.hardware.model import GpuProcess
from agent.health.station import Station
from agent.health.watch import XID
from tests.unit.agent.health.conftest import GIB, Host, conditions, gpu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.hardware import Gpu

LOST = Problem("gpu-lost", "it has fallen off the bus", "reboot")
RESET = Problem("gpu-needs-reset", "it must be reset before it can be used again", "reset it")
HUNG = Problem("nvml-hung", "the NVIDIA driver did not answer within 20 s", "wait")
NO_DRIVER = Problem("driver-not-loaded", "the kernel driver is not loaded", "load it")


def test_a_sound_gpu_is_watched_and_nothing_is_said(host: Host) -> None:
    for _ in range(3):
        found = host.look(gpu(0), gpu(1))
    assert [(g.health_watched, g.conditions) for g in found.gpus] == [(True, ())] * 2
    assert (found.conditions, host.said()) == ((), [])


HOLDING: list[tuple[dict[str, Any], list[tuple[str, int]]]] = [
    ({"remap_pending": True}, [("REMAP_PENDING", 0)]),
    ({"remap_pending": None, "retirement_pending": True}, [("REMAP_PENDING", 0)]),
    ({"remap_failed": True}, [("REMAP_FAILED", 0)]),
    ({"slowdown": 0x40}, [("THERMAL_SLOWDOWN", 0)]),
    ({"slowdown": 0x80}, [("POWER_BRAKE", 0)]),
    ({"slowdown": 0x40 | 0x80 | 0x8}, [("THERMAL_SLOWDOWN", 0), ("POWER_BRAKE", 0)]),
    ({"slowdown": 0x1 | 0x4 | 0x20}, []),  # idle, software power cap, software thermal: everyday
    ({"recovery_action": 2}, [("RECOVERY_ACTION", 2)]),
    ({"problem": RESET}, [("RECOVERY_ACTION", 1)]),
    ({"problem": LOST}, [("OFF_THE_BUS", 0)]),
    ({"pcie_width": 8}, [("PCIE_WIDTH", 8)]),
    ({"pcie_generation": 1}, []),  # idle cards lower it
    ({"pcie_generation": 1, "busy": 90}, [("PCIE_WIDTH", 16)]),
    ({"links": (True, False, True, True)}, [("NVLINK_ERRORS", 1)]),
]


@pytest.mark.parametrize(("sick", "signs"), HOLDING)
def test_what_is_wrong_holds_until_it_clears_and_is_of_one_gpu(
    host: Host, sick: dict[str, Any], signs: list[tuple[str, int]]
) -> None:
    host.look(gpu(0), gpu(1))
    host.look(gpu(0), gpu(1, **sick))
    host.now += 15
    found = host.look(gpu(0), gpu(1, **sick))
    assert (conditions(found, 0), conditions(found, 1)) == ([], signs)
    assert all(host.now - 15 <= condition.at <= host.now for condition in found.gpus[1].conditions)
    assert conditions(host.look(gpu(0), gpu(1)), 1) == []


def test_a_link_that_is_narrow_in_one_reading_alone_is_no_sign(host: Host) -> None:
    assert conditions(host.look(gpu(pcie_width=8))) == []
    assert conditions(host.look(gpu())) == []
    assert conditions(host.look(gpu(pcie_width=8))) == []


def test_links_that_never_were_up_are_no_fault(host: Host) -> None:
    partly = gpu(links=(True, False, False, False))
    assert [conditions(host.look(partly)) for _ in range(2)] == [[], []]


@pytest.mark.parametrize("unknown", ["ecc_volatile", "remap_failed", "slowdown", "recovery_action", "pcie_width"])
def test_what_a_gpu_does_not_tell_is_no_sign(host: Host, unknown: str) -> None:
    found = [host.look(gpu(**{unknown: None})) for _ in range(2)]
    assert [conditions(one) for one in found] == [[], []]
    assert host.said() == []
    assert found[0].gpus[0].health_watched


@pytest.mark.parametrize(
    "blind",
    [
        {"events": False},
        {"problem": RESET},
        {"ecc_volatile": None, "slowdown": None, "recovery_action": None, "remap_pending": None},
    ],
)
def test_a_gpu_of_which_the_essential_can_not_be_seen_is_not_watched(host: Host, blind: dict[str, Any]) -> None:
    assert not host.look(gpu(**blind)).gpus[0].health_watched
    assert not host.look(replace(gpu(), vitals=None)).gpus[0].health_watched


# --- counters ---------------------------------------------------------------------------------------------------------


def test_new_memory_errors_are_told_once_with_who_had_the_gpu(host: Host) -> None:
    host.look(gpu())
    host.run("j.0.1", "GPU-0")
    host.look(gpu(ecc_volatile=2, ecc_aggregate=12))
    host.look(gpu(ecc_volatile=2, ecc_aggregate=12))
    host.look(gpu(ecc_volatile=3, ecc_aggregate=13))
    assert host.said() == [("GPU-0", "ECC_UNCORRECTABLE", 2, "j.0.1"), ("GPU-0", "ECC_UNCORRECTABLE", 3, "j.0.1")]


def test_errors_of_a_cards_earlier_life_are_not_news_but_those_since_the_driver_was_loaded_are(host: Host) -> None:
    host.look(gpu(0, ecc_aggregate=40), gpu(1, ecc_volatile=1, ecc_aggregate=40))
    assert host.said() == [("GPU-1", "ECC_UNCORRECTABLE", 1, "")]


def test_a_driver_that_was_loaded_anew_counts_from_nothing(host: Host) -> None:
    host.look(gpu(ecc_volatile=5, ecc_aggregate=5))
    host.look(gpu(ecc_volatile=0, ecc_aggregate=5))
    host.look(gpu(ecc_volatile=1, ecc_aggregate=6))
    assert [code for _, _, code, _ in host.said()] == [5, 1]
    host.look(gpu(ecc_volatile=2, ecc_aggregate=7), boot="boot-2")
    assert [code for _, _, code, _ in host.said()] == [5, 1, 2]


def test_retired_pages_of_old_cards(host: Host) -> None:
    old: dict[str, Any] = {"ecc_volatile": None, "ecc_aggregate": None, "remap_pending": None}
    host.look(gpu(retired_pages=1, **old))
    host.look(gpu(retired_pages=2, **old))
    assert [(sign, code) for _, sign, code, _ in host.said()] == [("ECC_UNCORRECTABLE", 0)]


def test_link_errors_are_summed_up_and_name_the_worst_link(host: Host) -> None:
    host.look(gpu(link_errors=(5, 0, 0, 0)))
    host.look(gpu(link_errors=(6, 0, 9, 0)))
    host.now += 15
    host.look(gpu(link_errors=(7, 0, 10, 0)))
    assert host.said() == [("GPU-0", "NVLINK_ERRORS", 2, "")]
    assert host.waiting()[0].detail == "new replays and recoveries: 1 on NVLink 0, 9 on NVLink 2"
    host.now += 600
    host.look(gpu(link_errors=(8, 0, 10, 0)))
    assert host.waiting()[1].detail == "new replays and recoveries: 2 on NVLink 0, 1 on NVLink 2"


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_xid_is_put_down_to_who_had_the_gpu_or_had_it_just_before(host: Host) -> None:
    host.look(gpu(0), gpu(1))
    host.run("j.0.1", "GPU-1")
    host.watch.hear(GpuEvent(1, XID, 31))
    host.end("j.0.1")
    host.now += 5
    host.watch.hear(GpuEvent(1, XID, 45))
    host.now += 60
    host.watch.hear(GpuEvent(1, XID, 79))
    host.watch.hear(GpuEvent(0, XID, 13))
    assert host.said() == [
        ("GPU-1", "XID", 31, "j.0.1"),
        ("GPU-1", "XID", 45, "j.0.1"),
        ("GPU-1", "XID", 79, ""),
        ("GPU-0", "XID", 13, ""),
    ]


def test_an_xid_comes_before_the_next_node_on_that_gpu_and_is_not_put_down_to_it(host: Host) -> None:
    host.look(gpu(0))
    host.run("j.0.1", "GPU-0")
    host.watch.hear(GpuEvent(0, XID, 94))
    host.end("j.0.1")
    host.run("k.0.1", "GPU-0")
    assert host.said() == [("GPU-0", "XID", 94, "j.0.1")]


def test_a_flood_of_one_xid_is_one_sign_in_ten_seconds(host: Host) -> None:
    host.look(gpu(0))
    for _ in range(1000):
        host.watch.hear(GpuEvent(0, XID, 13))
    host.watch.hear(GpuEvent(0, XID, 31))
    host.now += 10
    host.watch.hear(GpuEvent(0, XID, 13))
    assert [code for _, _, code, _ in host.said()] == [13, 31, 13]


def test_an_xid_of_a_mig_instance_is_of_its_card_and_of_who_has_the_instance(host: Host) -> None:
    def part(number: int) -> Gpu:
        return replace(gpu(0), uuid=f"MIG-{number}", parent="GPU-0", gpu_instance=number)

    found = host.look(part(1), part(2))
    assert [g.health_watched for g in found.gpus] == [True, True]
    host.run("j.0.1", "MIG-1")
    host.run("k.0.1", "MIG-2")
    host.watch.hear(GpuEvent(0, XID, 31, gpu_instance=2))
    assert host.said() == [("GPU-0", "XID", 31, "k.0.1")]
    assert "MIG-2" in host.waiting()[0].detail


# --- the bus, the driver, how many there are --------------------------------------------------------------------------


def test_a_gpu_that_falls_off_the_bus_is_told_once_and_so_is_that_one_is_missing(host: Host) -> None:
    host.look(gpu(0), gpu(1))
    host.run("j.0.1", "GPU-1")
    for _ in range(3):
        found = host.look(gpu(0), gpu(1, problem=LOST))
    assert conditions(found, 1) == [("OFF_THE_BUS", 0)]
    assert [(c.sign.name, c.code) for c in found.conditions] == [("GPU_COUNT", 1)]
    assert host.said() == [("GPU-1", "OFF_THE_BUS", 0, "j.0.1"), ("", "GPU_COUNT", 1, "")]
    back = host.look(gpu(0), gpu(1))
    assert (conditions(back, 1), back.conditions) == ([], ())
    host.look(gpu(0), gpu(1, problem=LOST))
    assert len(host.said()) == 4


def test_an_agent_that_starts_again_still_knows_how_many_there_were(host: Host) -> None:
    host.look(gpu(0), gpu(1))
    host.restart()
    found = host.look(gpu(0))
    assert [(c.sign.name, c.code) for c in found.conditions] == [("GPU_COUNT", 1)]
    host.restart()
    host.look(gpu(0))
    assert host.said() == [("", "GPU_COUNT", 1, "")]


def test_a_gpu_that_does_not_come_back_from_a_reboot_is_told_and_then_forgotten(host: Host) -> None:
    host.look(gpu(0), gpu(1))
    host.restart()
    found = host.look(gpu(0), boot="boot-2")
    assert host.said() == [("", "GPU_COUNT", 1, "")]
    assert "GPU-1" in host.waiting()[0].detail
    assert found.conditions == ()
    host.look(gpu(0), boot="boot-3")
    assert len(host.said()) == 1


def test_more_gpus_than_before_are_no_fault(host: Host) -> None:
    host.look(gpu(0))
    assert host.look(gpu(0), gpu(1)).conditions == ()
    assert host.look(gpu(0), gpu(1), boot="boot-2").conditions == ()
    assert host.said() == []


def test_a_driver_that_hangs_is_a_sign_and_says_nothing_of_how_many_gpus_there_are(host: Host) -> None:
    host.look(gpu(0), gpu(1))
    assert host.look(gpu(0, problem=HUNG), problem=HUNG).conditions == ()
    host.now += 60
    found = host.look(gpu(0, problem=HUNG), problem=HUNG)
    assert [c.sign.name for c in found.conditions] == ["DRIVER"]
    assert [sign for _, sign, _, _ in host.said()] == ["DRIVER", "DRIVER"]
    host.look(problem=HUNG)
    assert len(host.said()) == 2


@pytest.mark.parametrize("passing", [HUNG, Problem("nvml-crashed", "it ended with signal 9", "")])
def test_an_answer_that_failed_once_and_came_at_the_next_try_is_no_sign(host: Host, passing: Problem) -> None:
    for _ in range(3):
        host.look(gpu(0), gpu(1))
        for _ in range(3):
            host.now += 15
            assert conditions(host.look(gpu(0), gpu(1, problem=passing)), 1) == []
    assert host.said() == []
    host.now += 30
    assert conditions(host.look(gpu(0), gpu(1, problem=passing)), 1) == [("DRIVER", 0)]


def test_a_driver_that_holds_its_caller_for_ever_is_a_sign_at_once(host: Host) -> None:
    host.look(gpu(0))
    stuck = Problem("nvml-stuck", "the NVIDIA driver holds process 7", "reboot")
    assert [c.sign.name for c in host.look(gpu(0, problem=stuck), problem=stuck).conditions] == ["DRIVER"]


def test_a_host_that_never_had_a_gpu_needs_no_driver(host: Host) -> None:
    assert host.look(problem=NO_DRIVER).conditions == ()
    assert host.said() == []
    host.look(gpu(0))
    assert [c.sign.name for c in host.look(problem=NO_DRIVER).conditions] == ["DRIVER"]


# --- memory that is not given back ------------------------------------------------------------------------------------


def test_memory_that_a_node_leaves_behind_is_told_a_grace_later_with_who_has_it(host: Host) -> None:
    host.look(gpu(used=GIB // 2))
    host.run("j.0.1", "GPU-0")
    host.look(gpu(used=40 * GIB))
    host.end("j.0.1")
    holder = GpuProcess(os.getpid(), 3 * GIB)
    left = gpu(used=GIB // 2 + 3 * GIB, processes=(holder,))
    assert conditions(host.look(left)) == []
    host.now += 20
    found = host.look(left)
    assert conditions(found) == [("MEMORY_HELD", 3 * GIB)]
    detail = found.gpus[0].conditions[0].detail
    assert detail.startswith("3.0 GiB of its memory stayed in use when its last node had ended, by process")
    assert str(os.getpid()) in detail
    # Another reading, with a little more or less in use: still the same sign.
    assert conditions(host.look(gpu(used=3 * GIB))) == [("MEMORY_HELD", 3 * GIB)]
    host.restart()
    assert conditions(host.look(gpu(used=3 * GIB))) == [("MEMORY_HELD", 3 * GIB)]
    assert conditions(host.look(gpu(used=GIB // 2))) == []
    host.look(gpu(used=3 * GIB))
    assert conditions(host.look(gpu(used=3 * GIB))) == []


def test_memory_that_others_take_after_a_clean_end_is_not_held(host: Host) -> None:
    host.look(gpu())
    host.run("j.0.1", "GPU-0")
    host.end("j.0.1")
    host.now += 20
    host.look(gpu(used=1 << 20))
    assert conditions(host.look(gpu(used=10 * GIB))) == []


def test_memory_that_a_node_leaves_behind_while_no_agent_is_there_is_told_too(host: Host) -> None:
    host.look(gpu())
    host.run("j.0.1", "GPU-0")
    host.look(gpu(used=40 * GIB))
    host.restart()
    # The spawner has not told of anything yet.
    running = dict(host.observed)
    host.desired.clear()
    host.observed.clear()
    host.look(gpu(used=40 * GIB))
    host.observed.update(running)
    host.look(gpu(used=40 * GIB))
    assert host.watch.holders.held == {"GPU-0": "j.0.1"}
    host.restart()
    host.end("j.0.1")
    assert conditions(host.look(gpu(used=40 * GIB))) == []
    host.now += 20
    assert conditions(host.look(gpu(used=40 * GIB))) == [("MEMORY_HELD", 40 * GIB)]


def test_memory_of_a_test_is_not_the_last_nodes(host: Host) -> None:
    host.run("j.0.1", "GPU-0")
    host.look(gpu(used=40 * GIB))
    host.end("j.0.1")
    host.now += 1
    with host.watch.under_test(["GPU-0"]):
        host.now += 30
        assert conditions(host.look(gpu(used=40 * GIB))) == []
    assert conditions(host.look(gpu(used=40 * GIB))) == [("MEMORY_HELD", 40 * GIB)]


def test_memory_of_the_next_node_is_not_the_last_ones(host: Host) -> None:
    host.look(gpu())
    host.run("j.0.1", "GPU-0")
    host.end("j.0.1")
    host.run("k.0.1", "GPU-0")
    host.now += 60
    assert conditions(host.look(gpu(used=30 * GIB))) == []


def test_nothing_is_said_of_memory_before_it_is_known_who_has_which_gpu(host: Host) -> None:
    host.run("j.0.1", "GPU-0")
    host.end("j.0.1")
    # Of one that was started after the agent last wrote down who has what.
    host.observed[AllocationId("k.0.1")] = Observed(AllocationId("k.0.1"), Phase.RUNNING)
    host.restart()
    host.now += 60
    assert conditions(host.look(gpu(used=30 * GIB))) == []
    assert not host.watch.holders.certain


def test_of_tests_of_one_gpu_that_waited_for_it_only_the_last_is_done(tmp_path: Path) -> None:
    done: list[str] = []

    async def tester(uuids: Sequence[str]) -> dict[str, str]:
        done.extend(uuids)
        return {}

    async def scenario() -> list[tuple[str, int]]:
        station = Station(tmp_path, lambda: None, tester)
        key = AllocationId("j.0.1")
        wanted = {key: Desired(key, "j", "j", 0, 1, Wanted.RUNNING, Spec(), gpu_uuids=("GPU-0",))}
        work = SimpleNamespace(desired=wanted, observed={key: Observed(key, Phase.RUNNING)})
        station.look_at(work)  # type: ignore[arg-type]
        waiting = [asyncio.create_task(station.test(["GPU-0"], number)) for number in (1, 2, 3)]
        waiting.append(asyncio.create_task(station.test(["GPU-1"], 4)))
        await waiting[-1]
        work.observed[key] = Observed(key, Phase.ENDED)
        station.look_at(work)  # type: ignore[arg-type]
        await asyncio.gather(*waiting)
        station.watch.opened(0)
        return [(evidence.gpu_uuid, evidence.code) for evidence in station.watch.unreported(9)]

    assert asyncio.run(scenario()) == [("GPU-1", 4), ("GPU-0", 3)]
    assert done == ["GPU-1", "GPU-0"]
