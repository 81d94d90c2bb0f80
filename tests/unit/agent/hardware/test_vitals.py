"""How GPUs do, read by the real binding from the stub: every field by itself, and events while nobody asks."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from agent.hardware import GpuEvent, NvmlProbe, ProbeTimes, Vitals
from agent.hardware.model import GpuProcess
from tests.fakes.nvml import (
    DOUBLE_BIT,
    HANG,
    NO_PERMISSION,
    XID,
    Value,
    a100,
    build_stub,
    divided,
    fail,
    h100,
    hanging,
    happen,
    lost,
    stub_env,
    t4,
)
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.unit.agent.hardware.conftest import Rig

pytestmark = pytest.mark.timeout(60)


def vitals(rig: Rig) -> Vitals:
    found = rig.read().gpus[0].vitals
    assert found is not None
    return found


def test_a_gpu_in_bad_health_tells_all_of_it(rig: Rig) -> None:
    sick = replace(
        h100(0),
        nvlinks=16,
        ecc_volatile=3,
        ecc_aggregate=5,
        remapped="1,2,1,1",
        slowdown=0x40 | 0x80,
        recovery_action=1,
        pcie_width=8,
        pcie_generation=3,
        link_errors="7,2",
        processes="4711:1048576,4712:2097152",
    )
    rig.gpus([sick])
    assert vitals(rig) == Vitals(
        ecc_volatile=3,
        ecc_aggregate=5,
        remap_pending=True,
        remap_failed=True,
        slowdown=0xC0,
        recovery_action=1,
        pcie_width=8,
        pcie_max_width=16,
        pcie_generation=3,
        pcie_max_generation=4,
        links=(*[True] * 16, False, False),
        link_errors=(9, *[0] * 17),
        processes=(GpuProcess(4711, 1 << 20), GpuProcess(4712, 2 << 20)),
        events=True,
    )


def test_a_card_without_row_remapping_tells_its_retired_pages(rig: Rig) -> None:
    rig.gpus([replace(t4(0), remapped=None, retired_pages=2, retirement_pending=1)])
    told = vitals(rig)
    assert (told.remap_pending, told.retired_pages, told.retirement_pending) == (None, 2, True)


# Each field of the stub's GPU, and those of the vitals that come from it.
SOURCES = {
    "ecc_volatile": {"ecc_volatile"},
    "ecc_aggregate": {"ecc_aggregate"},
    "remapped": {"remap_pending", "remap_failed"},
    "slowdown": {"slowdown"},
    "recovery_action": {"recovery_action"},
    "pcie_width": {"pcie_width"},
    "pcie_max_width": {"pcie_max_width"},
    "pcie_generation": {"pcie_generation"},
    "pcie_max_generation": {"pcie_max_generation"},
    "nvlinks": {"links", "link_errors"},
    "link_errors": {"link_errors"},
    "processes": {"processes"},
    "events": {"events"},
}


@pytest.mark.parametrize("refused", [None, fail(NO_PERMISSION)])
def test_what_one_gpu_does_not_tell_is_not_watched_and_costs_nothing_else(rig: Rig, refused: Value) -> None:
    whole = replace(h100(0), nvlinks=18)
    rig.gpus([whole, *(replace(whole, uuid=f"GPU-{name}", **{name: refused}) for name in SOURCES)])
    reading = rig.read()
    first, *others = (asdict(gpu.vitals) for gpu in reading.gpus if gpu.vitals is not None)
    assert all(gpu.problem is None for gpu in reading.gpus)
    for (name, fields), told in zip(SOURCES.items(), others, strict=True):
        assert {field for field in first if first[field] != told[field]} == fields, name
        assert all(told[field] in (None, False) for field in fields), name


def test_a_driver_from_before_all_this_is_read_like_any(tmp_path: Path, rig: Rig) -> None:
    rig.env.update(stub_env(build_stub(tmp_path, old=True), rig.scenario))
    rig.gpus([replace(t4(0), slowdown=0x40)])
    told = vitals(rig)
    assert (told.slowdown, told.recovery_action, told.remap_pending, told.events) == (0x40, None, None, True)


class Listener:
    """A probe and what it was told."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.events: list[GpuEvent] = []

    def run(self, steps: Callable[[NvmlProbe], Awaitable[None]]) -> None:
        async def probed() -> None:
            times = ProbeTimes(kill_grace=0.5)
            async with NvmlProbe(self.rig.env, times, on_event=self.events.append) as probe:
                await steps(probe)

        asyncio.run(probed())

    async def hears(self, number: int) -> list[GpuEvent]:
        await asyncio.to_thread(eventually, lambda: len(self.events) >= number, what="the events were told")
        return self.events


def test_an_event_is_told_while_nobody_asks(rig: Rig) -> None:
    rig.gpus([h100(0), h100(1)])
    listener = Listener(rig)

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        happen(rig.scenario, gpu=1, xid=79)
        happen(rig.scenario, gpu=0, xid=31)
        happen(rig.scenario, gpu=0, kind=DOUBLE_BIT)
        assert await listener.hears(3) == [GpuEvent(1, XID, 79), GpuEvent(0, XID, 31), GpuEvent(0, DOUBLE_BIT, 0)]
        await probe.read()
        assert len(listener.events) == 3

    listener.run(steps)


def test_events_are_told_beside_a_gpu_for_which_nvml_is_started_anew(rig: Rig) -> None:
    rig.gpus([h100(0), lost(h100(1))])
    heard: list[GpuEvent] = []

    async def steps() -> None:
        times = ProbeTimes(kill_grace=0.5, refresh_lost=60.0)
        async with NvmlProbe(rig.env, times, rig.clock, heard.append) as probe:
            for number in (1, 2, 3):
                await probe.read()
                happen(rig.scenario, gpu=0, xid=31)
                await asyncio.to_thread(eventually, lambda at=number: len(heard) >= at, what="the event was told")
                rig.clock.now += 61

    asyncio.run(steps())


def test_events_of_a_mig_instance_name_it(rig: Rig) -> None:
    rig.gpus([divided(a100(0), "1g.5gb", "3g.20gb")])
    listener = Listener(rig)

    async def steps(probe: NvmlProbe) -> None:
        _, second = (await probe.read()).gpus
        happen(rig.scenario, gpu=0, xid=31, instance=2)
        assert await listener.hears(1) == [GpuEvent(0, XID, 31, gpu_instance=second.gpu_instance)]

    listener.run(steps)


def test_a_reading_that_hangs_keeps_no_event_from_being_told(rig: Rig) -> None:
    rig.gpus([h100(0), h100(1)])
    listener = Listener(rig)

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        rig.gpus([h100(0), hanging(h100(1))])
        reading = asyncio.create_task(probe.read(timeout=30))
        happen(rig.scenario, gpu=1, xid=119)
        assert await listener.hears(1) == [GpuEvent(1, XID, 119)]
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    listener.run(steps)


@pytest.mark.parametrize("broken", [HANG, fail(15), fail(999)])
def test_a_wait_for_events_that_hangs_or_fails_keeps_no_reading(rig: Rig, broken: str) -> None:
    rig.gpus([h100(0)])
    with rig.scenario.open("a") as scenario:
        scenario.write(f"wait={broken}\n")
    listener = Listener(rig)

    async def steps(probe: NvmlProbe) -> None:
        pids = set()
        for _ in range(3):
            assert (await probe.read()).gpus[0].problem is None
            pids.add(probe.worker_pid)
        assert len(pids) == 1

    listener.run(steps)


def test_gpus_that_cannot_tell_events_are_told_apart_from_those_that_can(rig: Rig) -> None:
    rig.gpus([replace(h100(0), events=None), replace(h100(1), events=DOUBLE_BIT), h100(2)])
    assert [gpu.vitals is not None and gpu.vitals.events for gpu in rig.read().gpus] == [False, False, True]
