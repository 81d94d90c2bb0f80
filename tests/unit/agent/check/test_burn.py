"""Work for GPUs through the real ctypes calls, on a stub libcuda that calculates on the CPU and errs when told to."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from agent.check import burn_torch
from agent.check.burn import Burnt, Order, Work, burn, slowest
from agent.check.order import carry_out
from agent.check.verdict import of_change, of_company, of_work
from agent.hardware import NvmlProbe, Problem
from agent.hardware.report import read_hardware
from tests.fakes.cuda import cuda_env
from tests.fakes.nvml import h100, host_env, lost, write_scenario
from tests.unit.agent.health.conftest import gpu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)
SHORT = Order(seconds=0.1, spare=30.0)


def worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order = SHORT, **faults: object) -> Burnt:
    """One GPU after its work."""
    env = cuda_env(tmp_path / "cuda", host_env(tmp_path / "nvml", [h100(0)]), **faults)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    async def run() -> Burnt:
        async with NvmlProbe() as probe:
            listed = (await probe.read()).gpus
            return (await burn(listed, order, probe))[listed[0].uuid]

    return asyncio.run(run())


def levels(burnt: Burnt) -> dict[str, str]:
    return {finding.topic: finding.level for finding in of_work(burnt)}


def test_a_gpu_that_calculates_rightly_is_said_to_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    burnt = worked(tmp_path, monkeypatch)
    assert levels(burnt) == {"memory": "ok", "arithmetic": "ok", "tensor": "ok", "load": "ok"}
    assert [work.name for work in burnt.works if (work.figure or 0) <= 0] == []
    assert (burnt.hottest, burnt.most_watts, burnt.slowdown) == (30, 70.0, 0)


def test_a_card_without_tensor_units_is_not_asked_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(worked(tmp_path, monkeypatch, major=7)).keys() == {"memory", "arithmetic", "load"}


@pytest.mark.parametrize(
    ("faults", "topic", "text"),
    [
        ({"flip": 0x10}, "memory", "in bits 0x00000010"),
        ({"wrong": "chaos"}, "arithmetic", "wrong results"),
        # Right in the few rounds that the CPU knows, wrong in the many that must only agree.
        ({"wrong": "chaos", "from": 1000}, "arithmetic", "wrong results"),
        ({"wrong": "tensor"}, "tensor", "wrong results"),
        ({"launch": 700}, "cuda", "cuLaunchKernel failed: CUDA_ERROR_OF_STUB_700"),
        ({"init": 100}, "burn", "could not be given work: cuInit failed"),
        ({"context": 46}, "burn", "could not be given work: cuDevicePrimaryCtxRetain failed"),
    ],
)
def test_each_kind_of_error_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object], topic: str, text: str
) -> None:
    found = list(of_work(worked(tmp_path, monkeypatch, **faults)))
    (bad,) = (finding for finding in found if finding.level == "error")
    assert bad.topic == topic
    assert text in bad.text
    assert bad.way_out


def test_work_that_hangs_ends_in_time_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    burnt = worked(tmp_path, monkeypatch, Order(seconds=0.1, spare=0.5), hang=1)
    assert burnt.broken == "its work did not end within 0.6 s"
    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
    assert levels(burnt)["burn"] == "error"


def test_a_python_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    burnt = worked(tmp_path, monkeypatch, Order(0.2, python="/no/such/python"))
    assert burnt.impossible == "/no/such/python could not be started: No such file or directory"


def test_of_gpus_of_one_kind_the_slow_one_is_named() -> None:
    def burnt(figure: float) -> Burnt:
        return Burnt([Work("memory", 0, 2000.0, "GB/s"), Work("arithmetic", 0, figure, "TFLOP/s")])

    found = {"GPU-0": burnt(50), "GPU-1": burnt(49), "GPU-2": burnt(31)}
    assert slowest(found.items(), 0.85) == {"GPU-2": ["arithmetic: 31 TFLOP/s, others 49"]}
    other = replace(gpu(2), name="Tesla T4")
    assert of_company([gpu(0), gpu(1), gpu(2)], found).keys() == {"GPU-2"}
    assert of_company([gpu(0), gpu(1), other], found) == {}


def test_what_happens_to_a_gpu_under_load_fails_it() -> None:
    lost = Problem("gpu-lost", "it has fallen off the bus", "")
    sound = gpu()
    assert list(of_change(sound, sound, [])) == []
    for after, xids, topic in (
        (sound, [79, 79], "xid"),
        (None, [], "driver"),
        (gpu(problem=lost), [], "driver"),
        (gpu(ecc_volatile=2), [], "ecc"),
        (gpu(recovery_action=1), [], "recovery"),
    ):
        assert [(f.topic, f.level) for f in of_change(sound, after, xids)] == [(topic, "error")]


@pytest.mark.parametrize(
    ("faults", "failure"),
    [
        ({}, ""),
        ({"wrong": "tensor"}, "tensor: "),
        # No device, one that somebody else has: nobody can tell.
        ({"init": 100}, ""),
        ({"context": 46}, ""),
        # There, and no program can use it: as after an XID for which it was not reset.
        ({"init": 999}, "cuda: "),
        ({"context": 719}, "cuda: "),
    ],
)
def test_the_coordinators_test_gives_work_where_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object], failure: str
) -> None:
    monkeypatch.setattr("agent.check.order._WORK", SHORT)
    free, used = h100(0), replace(h100(1), processes="4711:1048576")
    for name, value in cuda_env(tmp_path / "cuda", host_env(tmp_path / "nvml", [free, used]), **faults).items():
        monkeypatch.setenv(name, value)

    async def run() -> dict[str, str]:
        async with NvmlProbe() as probe:
            return await carry_out(await read_hardware(probe), [str(free.uuid), str(used.uuid)], probe)

    found = asyncio.run(run())
    assert failure in found[str(free.uuid)]
    assert bool(found[str(free.uuid)]) == bool(failure)
    assert found[str(used.uuid)] == "", "what somebody else uses is only looked at"


def test_what_happens_meanwhile_counts_where_no_work_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cuda_env(tmp_path / "cuda", host_env(tmp_path / "nvml", [h100(0)]), init=100).items():
        monkeypatch.setenv(name, value)

    async def run() -> dict[str, str]:
        async with NvmlProbe() as probe:
            report = await read_hardware(probe)
            write_scenario(tmp_path / "nvml" / "gpus", [lost(h100(0))])
            return await carry_out(report, [str(h100(0).uuid)], probe)

    assert "fallen off the bus" in asyncio.run(run())[str(h100(0).uuid)]


def test_a_product_of_matrices_by_torch_is_known_and_repeats() -> None:
    """On the CPU, where any torch can: that the results are those which the check believes in."""
    pytest.importorskip("torch", reason="needs torch: pip install torch")
    found = list(burn_torch.run(time.monotonic() + 0.1, device="cpu", size=256))
    assert [(said["work"], said["errors"]) for said in found] == [("matmul fp32", 0), ("matmul bf16", 0)]
