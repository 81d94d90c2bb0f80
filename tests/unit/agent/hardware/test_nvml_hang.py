"""A driver that does not answer: bounded in time, told apart by GPU, backed off from, and recovered from."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.fakes.nvml import CRASH, HANG, eight_h100, h100, hanging
from tests.support import eventually, missing
from tests.unit.agent.hardware.conftest import TIMES, Rig, code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.hardware import GpuReading, NvmlProbe

pytestmark = pytest.mark.timeout(60)

FREEZER = Path("/sys/fs/cgroup/freezer")
PATIENCE = 1.0
# Beyond the probe's own bounds, for a busy machine.
SLACK = 2.0


def codes(reading: GpuReading) -> list[str | None]:
    return [code_of(gpu) for gpu in reading.gpus]


async def timed(probe: NvmlProbe, patience: float = PATIENCE) -> tuple[GpuReading, float]:
    start = time.monotonic()
    reading = await probe.read(timeout=patience)
    return reading, time.monotonic() - start


def test_one_gpu_that_hangs_costs_one_time_limit_and_no_other_gpu(rig: Rig) -> None:
    rig.gpus(eight_h100())

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        pid = probe.worker_pid
        assert pid is not None
        gpus = list(eight_h100())
        gpus[3] = hanging(gpus[3])
        rig.gpus(gpus)

        reading, took = await timed(probe)
        assert PATIENCE <= took < PATIENCE + TIMES.kill_grace + SLACK
        assert codes(reading) == [None] * 3 + ["nvml-hung"] + [None] * 4
        assert (reading.gpus[3].name, reading.gpus[3].power_watts) == ("NVIDIA H100 80GB HBM3", None)
        assert not psutil.pid_exists(pid)

        reading, took = await timed(probe, patience=30)
        assert took < 30
        assert codes(reading) == [None] * 3 + ["nvml-hung"] + [None] * 4
        assert [gpu.power_watts for gpu in reading.gpus] == [70.0] * 3 + [None] + [70.0] * 4

        rig.gpus(eight_h100())
        assert codes(await probe.read())[3] == "nvml-hung", "asked again before the pause was over"
        rig.clock.now += TIMES.hang_pause
        reading = await probe.read()
        assert codes(reading) == [None] * 8
        assert reading.gpus[3].power_watts == 70.0

    rig.run(steps)


def test_a_gpu_that_hangs_from_the_first_reading_on(rig: Rig) -> None:
    rig.gpus([h100(0), hanging(h100(1)), h100(2)])

    async def steps(probe: NvmlProbe) -> None:
        first, _ = await timed(probe)
        assert [gpu.uuid[-4:] for gpu in first.gpus] == ["0000", "wn-1"]
        second = await probe.read()
        assert codes(second) == [None, "nvml-hung", None]

    rig.run(steps)


def test_of_two_gpus_that_hung_one_recovers(rig: Rig) -> None:
    rig.gpus([h100(0), hanging(h100(1)), h100(2), hanging(h100(3))])

    async def steps(probe: NvmlProbe) -> None:
        for _ in range(2):
            await timed(probe)
        assert codes(await probe.read()) == [None, "nvml-hung", None, "nvml-hung"]
        rig.gpus([h100(0), h100(1), h100(2), hanging(h100(3))])
        rig.clock.now += 2 * TIMES.hang_pause
        for _ in range(2):
            reading, _ = await timed(probe)
            assert [gpu.uuid for gpu in reading.gpus] == [*(str(h100(i).uuid) for i in range(3)), "unknown-3"]
            assert codes(reading) == [None, None, None, "nvml-hung"]

    rig.run(steps)


def test_a_driver_that_hangs_is_asked_ever_more_rarely(rig: Rig) -> None:
    rig.gpus([h100(0)])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        rig.gpus([h100(0)], count=HANG)
        reading, took = await timed(probe)
        assert took < PATIENCE + TIMES.kill_grace + SLACK
        assert reading.problem is not None
        assert reading.problem.code == "nvml-hung"
        assert codes(reading) == ["nvml-hung"]
        for pause in (30, 60, 100, 100):
            rig.clock.now += pause - 1
            _, took = await timed(probe)
            assert took < PATIENCE / 2, f"asked again before {pause} s were over"
            rig.clock.now += 1
            _, took = await timed(probe)
            assert took >= PATIENCE, f"not asked again after {pause} s"
        rig.gpus([h100(0)])
        rig.clock.now += 100
        reading = await probe.read()
        assert (reading.problem, codes(reading)) == (None, [None])

    rig.run(steps)


@pytest.mark.parametrize("where", ["init", "gpu"])
def test_a_driver_library_that_crashes_takes_only_its_worker(rig: Rig, where: str) -> None:
    broken = replace(h100(0), temperature=CRASH)
    rig.gpus([broken] if where == "gpu" else [h100(0)], init=CRASH if where == "init" else "yes")

    async def steps(probe: NvmlProbe) -> None:
        reading = await probe.read()
        problem = reading.problem if where == "init" else reading.gpus[0].problem
        assert problem is not None
        assert problem.code == "nvml-crashed"
        assert "signal 11" in problem.summary
        rig.gpus([h100(0)])
        rig.clock.now += TIMES.hang_pause
        assert codes(await probe.read()) == [None]

    rig.run(steps)


def test_a_worker_killed_from_outside_is_started_again(rig: Rig) -> None:
    rig.gpus([h100(0)])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        pid = probe.worker_pid
        assert pid is not None
        os.kill(pid, 9)
        await probe.read()
        rig.clock.now += TIMES.hang_pause
        assert codes(await probe.read()) == [None]
        assert probe.worker_pid != pid

    rig.run(steps)


def test_a_reading_given_up_by_its_caller_does_not_garble_the_next(rig: Rig) -> None:
    rig.gpus([h100(0)])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        for _ in range(5):
            reading = asyncio.create_task(probe.read())
            await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        assert codes(await probe.read()) == [None]

    rig.run(steps)


def test_closing_ends_the_worker_even_while_it_hangs(rig: Rig) -> None:
    rig.gpus([hanging(h100(0))])
    pids: list[int] = []

    async def steps(probe: NvmlProbe) -> None:
        reading = asyncio.create_task(probe.read(timeout=30))
        while probe.worker_pid is None:
            await asyncio.sleep(0)
        pids.append(probe.worker_pid)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    rig.run(steps)
    assert not psutil.pid_exists(pids[0])


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A control group whose processes ignore even SIGKILL while frozen, as those asleep in a wedged driver do."""
    group = FREEZER / f"rallypoint-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        missing("a writable version 1 freezer cgroup", f"mount one at {FREEZER} ({error})")
    yield group
    (group / "freezer.state").write_text("THAWED")
    eventually(lambda: not (group / "cgroup.procs").read_text(), what="the group is empty")
    group.rmdir()


def test_a_worker_that_cannot_be_killed_is_told_of_and_never_joined_by_another(rig: Rig, freezer: Path) -> None:
    rig.gpus([h100(0)])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        pid = probe.worker_pid
        (freezer / "cgroup.procs").write_text(str(pid))
        (freezer / "freezer.state").write_text("FROZEN")
        _, took = await timed(probe)
        assert took < PATIENCE + TIMES.kill_grace + SLACK
        rig.clock.now += 10_000
        reading, took = await timed(probe)
        assert took < PATIENCE / 2
        assert reading.problem is not None
        assert (reading.problem.code, codes(reading)) == ("nvml-stuck", ["nvml-stuck"])
        assert str(pid) in reading.problem.summary
        assert probe.worker_pid is None
        (freezer / "freezer.state").write_text("THAWED")
        while (reading := await probe.read()).problem is not None:
            await asyncio.sleep(0)
        assert codes(reading) == [None]

    rig.run(steps)
