"""What `agent doctor` says: every fault with its name and the way out, read from a made-up kernel and driver."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.hardware import (
    Disk,
    DriverFacts,
    Finding,
    Gpu,
    HardwareReport,
    NvmlProbe,
    Problem,
    RdmaPort,
    diagnose,
    problems,
    read_driver_facts,
    read_hardware,
)
from agent.hardware.doctor import run_doctor
from agent.hardware.driver import PciGpu
from agent.hardware.problems import NvmlFailure, driver_problem, gpu_problem
from tests.fakes.nvml import VERSION_MISMATCH, eight_h100, fail, h100, lost, stub_env

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.agent.hardware.conftest import Rig

pytestmark = pytest.mark.timeout(60)

CARD = PciGpu("0000:01:00.0", "nvidia")
H100 = Gpu("GPU-0", 0, "H100", 80 << 30, (9, 0), "00000000:01:00.0", 700.0, 0, 0, 30, 70.0)


async def _plain() -> HardwareReport:
    async with NvmlProbe(env={**os.environ, "LD_LIBRARY_PATH": ""}) as probe:
        return replace(await read_hardware(probe), gpu_problem=None, gpus=())


@pytest.fixture(scope="module")
def plain() -> HardwareReport:
    """This host, taken to be without GPUs."""
    return asyncio.run(_plain())


def about(topic: str, report: HardwareReport, facts: DriverFacts | None = None) -> Iterator[Finding]:
    return (f for f in diagnose(report, facts or DriverFacts()) if f.topic == topic)


def test_a_host_without_gpus_is_in_order(plain: HardwareReport) -> None:
    assert [f.level for f in about("driver", plain)] == ["ok"]
    assert not any(f.level == "error" for f in diagnose(plain, DriverFacts()))


def test_gpus_in_order(plain: HardwareReport) -> None:
    report = replace(plain, gpus=(H100,), driver_version="580.95.05", cuda_version="13.0")
    (driver,), (gpu,) = about("driver", report, DriverFacts((CARD,), "580.95.05")), about("gpu", report)
    assert (driver.level, gpu.level) == ("ok", "ok")
    assert driver.text == "NVIDIA driver 580.95.05, CUDA up to 13.0, GPUs: 1"
    assert gpu.text == "0: H100 (GPU-0)"


def test_rdma_ports_are_told_and_matter_when_none_is_active(plain: HardwareReport) -> None:
    up, down = RdmaPort("mlx5_0", 1, "ACTIVE", "InfiniBand", 200.0), RdmaPort("mlx5_1", 1, "DOWN", "Ethernet", None)
    assert not list(about("rdma", replace(plain, rdma=())))
    (well,) = about("rdma", replace(plain, rdma=(up, down)))
    assert (well.level, well.text) == ("ok", "mlx5_0:1 InfiniBand 200 Gb/s ACTIVE, mlx5_1:1 Ethernet DOWN")
    (badly,) = about("rdma", replace(plain, rdma=(down,)))
    assert (badly.level, badly.text) == ("warn", "no port is active: mlx5_1:1 Ethernet DOWN")
    assert "subnet manager" in badly.way_out


@pytest.mark.parametrize(
    ("number", "facts", "said", "way_out"),
    [
        (12, DriverFacts((CARD,), None), "1 NVIDIA GPU(s) on the PCI bus, but libnvidia-ml.so.1", "install the NVIDIA"),
        (12, DriverFacts((CARD,), "580.1"), "kernel driver 580.1 loaded, but libnvidia-ml.so.1", "--gpus all"),
        (12, DriverFacts((PciGpu("0", "nouveau"),)), "held by the driver 'nouveau'", "blacklist nouveau"),
        (9, DriverFacts((CARD,), None), "the kernel driver is not loaded", "modprobe nvidia"),
        (18, DriverFacts((CARD,), "580.1"), "are of different versions", "reboot"),
        (4, DriverFacts((CARD,), "580.1", ("/dev/nvidia0",)), "no access to /dev/nvidia0", "'video'"),
        (999, DriverFacts((CARD,), "580.1"), "NVML error 999", "dmesg"),
        (None, DriverFacts(), "could not be asked", "nvidia-ml-py"),
    ],
)
def test_every_fault_of_the_driver_has_its_reason_and_way_out(
    plain: HardwareReport, number: int | None, facts: DriverFacts, said: str, way_out: str
) -> None:
    report = replace(plain, gpu_problem=driver_problem(NvmlFailure(number, "text of it")))
    (finding,) = about("driver", report, facts)
    assert finding.level == "error"
    assert said in finding.text
    assert way_out in finding.way_out
    assert "\n" not in finding.text + finding.way_out


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (problems.hung(20.0, None), "the NVIDIA driver did not answer within 20 s [nvml-hung]"),
        (problems.stuck(77), "holds process 77 so that it cannot be killed [nvml-stuck]"),
        (problems.crashed(-11, None), "ended with signal 11 [nvml-crashed]"),
    ],
)
def test_a_wedged_driver(plain: HardwareReport, problem: Problem, said: str) -> None:
    (finding,) = about("driver", replace(plain, gpu_problem=problem), DriverFacts((CARD,), "580.1"))
    assert finding.level == "error"
    assert said in finding.text
    assert "dmesg" in finding.way_out or "reinstall" in finding.way_out


def test_a_lost_gpu_among_good_ones(plain: HardwareReport) -> None:
    gone = replace(H100, uuid="GPU-3", index=3, problem=gpu_problem(NvmlFailure(15, "GPU is lost")))
    well, lost_one = about("gpu", replace(plain, gpus=(H100, gone)))
    assert well.level == "ok"
    assert (lost_one.level, lost_one.text) == ("error", "3: H100 (GPU-3): it has fallen off the bus [gpu-lost]")
    assert "--gpu-reset -i 3" in lost_one.way_out


def test_fields_that_a_gpu_does_not_tell(plain: HardwareReport) -> None:
    (warned,) = about("gpu", replace(plain, gpus=(replace(H100, memory_bytes=None, compute_capability=None),)))
    assert (warned.level, warned.text) == ("warn", "0: H100 (GPU-0) does not tell its memory, compute capability")
    (fine,) = about("gpu", replace(plain, gpus=(replace(H100, temperature_c=None, power_watts=None),)))
    assert (fine.level, fine.text) == ("ok", "0: H100 (GPU-0), does not tell its temperature, power")


def test_more_gpus_on_the_bus_than_the_driver_reports(plain: HardwareReport) -> None:
    facts = DriverFacts((CARD, PciGpu("0000:02:00.0", "vfio-pci")), "580.1")
    findings = [f for f in about("driver", replace(plain, gpus=(H100,)), facts) if f.level == "warn"]
    assert len(findings) == 1
    assert "0000:02:00.0 (vfio-pci)" in findings[0].text


def test_a_device_that_only_root_can_have_made(plain: HardwareReport) -> None:
    facts = DriverFacts((CARD,), "580.1", lacking=("/dev/nvidia-uvm",))
    (found,) = (f for f in about("driver", replace(plain, gpus=(H100,)), facts) if f.level == "warn")
    assert found.text == "/dev/nvidia-uvm is not there: CUDA in a node that is not root's can't have it made"
    assert "nvidia-modprobe -u" in found.way_out


def test_little_memory_little_disk_and_no_network(plain: HardwareReport) -> None:
    full = Disk("/", "/dev/vda", "ext4", 100 << 30, 1 << 30)
    report = replace(plain, memory_available_bytes=1 << 20, disks=(full,), interfaces=())
    levels = {f.topic: f.level for f in diagnose(report, DriverFacts())}
    assert (levels["memory"], levels["disk"], levels["network"]) == ("warn", "warn", "error")
    assert all(f.way_out for f in diagnose(report, DriverFacts()) if f.level != "ok")


def test_the_kernels_view_is_read_without_the_drivers_library(tmp_path: Path) -> None:
    devices = tmp_path / "sys/bus/pci/devices"
    for address, vendor, kind in (
        ("01", "0x10de", "0x030200"),
        ("02", "0x10de", "0x040300"),
        ("03", "0x1af4", "0x030000"),
    ):
        (devices / address).mkdir(parents=True)
        (devices / address / "vendor").write_text(vendor + "\n")
        (devices / address / "class").write_text(kind + "\n")
    (devices / "01/driver").symlink_to("../../drivers/nouveau")
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("580.95.05\n")
    seen = DriverFacts((PciGpu("01", "nouveau"),), "580.95.05")
    assert read_driver_facts(tmp_path) == replace(seen, lacking=("/dev/nvidia-uvm",))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia-uvm").touch()
    assert read_driver_facts(tmp_path) == seen
    assert read_driver_facts(tmp_path / "nothing") == DriverFacts()


def play(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    for name, value in stub_env(Path(rig.env["LD_LIBRARY_PATH"].split(":")[0]), rig.scenario).items():
        monkeypatch.setenv(name, value)


def test_doctor_in_words(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    play(monkeypatch, rig)
    rig.gpus([h100(0), lost(h100(1))])
    slow = Finding("warn", "clock", "is off by a day", "run an NTP client", "in full")
    assert run_doctor([Finding("warn", "time", "is odd", "run an NTP client"), slow]) == 1
    out = capsys.readouterr().out
    assert out.count("run an NTP client") == 1
    assert "in full" not in out
    assert "ok     driver    NVIDIA driver 580.95.05, CUDA up to 13.0, GPUs: 2" in out
    assert "error  gpu       1: unknown model (unknown-1): it has fallen off the bus [gpu-lost]" in out
    assert "warn   clock     is off by a day\n                 to mend it: run an NTP client" in out


def test_doctor_in_full(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    play(monkeypatch, rig)
    rig.gpus([h100(0)])
    assert run_doctor([Finding("warn", "clock", "is off", "mend it", "by a day")], verbose=True) == 0
    assert "warn   clock     is off\n                 by a day\n                 to mend it: mend it" in (
        capsys.readouterr().out
    )


def test_doctor_as_json(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    play(monkeypatch, rig)
    rig.gpus(eight_h100())
    assert run_doctor(as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == 1
    assert sum(finding["topic"] == "gpu" for finding in told["findings"]) == 8
    rig.gpus(eight_h100(), init=fail(VERSION_MISMATCH))
    assert run_doctor(as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert "driver-version-mismatch" in next(f["text"] for f in told["findings"] if f["topic"] == "driver")
