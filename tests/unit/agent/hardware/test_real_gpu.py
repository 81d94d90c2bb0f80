"""On a machine with an NVIDIA GPU: what we report is what its own nvidia-smi says."""

from __future__ import annotations

import asyncio
import csv
import shutil
import subprocess

import pytest

from agent.hardware import Gpu, GpuReading, NvmlProbe

# Not support.missing(): no GPU is the usual thing, also in a strict run.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU; there is no nvidia-smi here"),
]

FIELDS = (
    "uuid",
    "index",
    "name",
    "memory.total",
    "compute_cap",
    "pci.bus_id",
    "power.limit",
    "driver_version",
    "memory.used",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw.instant",
)
MIB = 1 << 20


def asked() -> list[dict[str, str]]:
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [dict(zip(FIELDS, row, strict=True)) for row in csv.reader(out.splitlines(), skipinitialspace=True)]


async def _read() -> GpuReading:
    async with NvmlProbe() as probe:
        return await probe.read(timeout=60)


def known(text: str) -> str | None:
    return None if text.startswith("[") or text == "N/A" else text


def close(ours: float | None, theirs: str, within: float) -> bool:
    """Both unknown, or both known and near each other."""
    said = known(theirs)
    return ours is None if said is None else ours is not None and abs(ours - float(said)) <= within


def lasting(gpu: Gpu) -> dict[str, str | None]:
    """What does not change from one moment to the next, in nvidia-smi's words."""
    capability = gpu.compute_capability
    return {
        "uuid": gpu.uuid,
        "index": str(gpu.index),
        "name": gpu.name,
        "memory.total": None if gpu.memory_bytes is None else str(gpu.memory_bytes // MIB),
        "compute_cap": None if capability is None else f"{capability[0]}.{capability[1]}",
        "pci.bus_id": gpu.pci_bus,
        "power.limit": None if gpu.power_limit_watts is None else f"{gpu.power_limit_watts:.2f}",
    }


def test_it_agrees_with_nvidia_smi() -> None:
    reading, theirs = asyncio.run(_read()), asked()
    assert reading.problem is None
    ours = [{**lasting(gpu), "driver_version": reading.driver_version} for gpu in reading.gpus]
    assert ours == [{name: known(row[name]) for name in ours[0]} for row in theirs]
    for gpu, row in zip(reading.gpus, theirs, strict=True):
        assert gpu.problem is None
        assert close(gpu.memory_used_bytes and gpu.memory_used_bytes / MIB, row["memory.used"], within=2048)
        assert close(gpu.utilization_percent, row["utilization.gpu"], within=100)
        assert close(gpu.temperature_c, row["temperature.gpu"], within=10)
        assert close(gpu.power_watts, row["power.draw.instant"], within=400)
