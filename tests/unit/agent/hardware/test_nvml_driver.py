"""Hosts whose driver is missing or broken as a whole: the reason is told, and no process is kept for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fakes.nvml import NO_PERMISSION, NOT_LOADED, VERSION_MISMATCH, fail, h100
from tests.unit.agent.hardware.conftest import TIMES, Rig

if TYPE_CHECKING:
    from agent.hardware import NvmlProbe

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("number", "code", "way_out"),
    [
        (VERSION_MISMATCH, "driver-version-mismatch", "reboot"),
        (NO_PERMISSION, "nvml-no-permission", "/dev/nvidiactl"),
        (NOT_LOADED, "driver-not-loaded", "modprobe nvidia"),
        (999, "nvml-failed", "nvidia-smi"),
    ],
)
def test_a_driver_that_fails_is_told_of_and_mended_without_a_restart(
    rig: Rig, number: int, code: str, way_out: str
) -> None:
    rig.gpus([h100(0)], init=fail(number))

    async def steps(probe: NvmlProbe) -> None:
        reading = await probe.read()
        assert reading.problem is not None
        assert reading.problem.code == code
        assert way_out in reading.problem.way_out
        assert probe.worker_pid is None, "a worker is kept for nothing"
        rig.gpus([h100(0)])
        assert await probe.read() == reading, "asked again too soon"
        rig.clock.now += TIMES.retry_driver
        assert len((await probe.read()).gpus) == 1

    rig.run(steps)


def test_without_a_library_there_is_no_worker_and_no_gpu(rig: Rig) -> None:
    rig.env.pop("LD_LIBRARY_PATH")
    rig.env["LD_LIBRARY_PATH"] = os.environ.get("LD_LIBRARY_PATH", "")
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("this host has an NVIDIA driver")

    async def steps(probe: NvmlProbe) -> None:
        reading = await probe.read()
        assert reading.problem is not None
        assert (reading.gpus, reading.problem.code) == ((), "nvml-library-missing")
        assert probe.worker_pid is None

    rig.run(steps)


def test_a_driver_that_goes_away_leaves_its_gpus_in_the_list(rig: Rig) -> None:
    rig.gpus([h100(0)])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        rig.gpus([h100(0)], count=fail(NOT_LOADED))
        (gpu,) = (await probe.read()).gpus
        assert gpu.name == "NVIDIA H100 80GB HBM3"
        assert gpu.problem is not None
        assert gpu.problem.code == "driver-not-loaded"

    rig.run(steps)


def test_a_host_without_gpus_but_with_a_driver(rig: Rig) -> None:
    rig.gpus([])
    reading = rig.read()
    assert (reading.gpus, reading.driver_version, reading.problem) == ((), "580.95.05", None)
