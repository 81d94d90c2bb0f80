"""On a machine with an NVIDIA GPU: what we report is what its own nvidia-smi says, and `agent check` finds it fit."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.hardware import GpuReading, NvmlProbe
from agent.health import rules
from tests.fakes.nvidia_smi import disagreements

if TYPE_CHECKING:
    from pathlib import Path

# Not support.missing(): no GPU is the usual thing, also in a strict run.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU; there is no nvidia-smi here"),
]


def smi(*options: str) -> str:
    return subprocess.run(["nvidia-smi", *options], check=True, capture_output=True, text=True).stdout


async def _read() -> GpuReading:
    async with NvmlProbe() as probe:
        return await probe.read(timeout=60)


def test_it_agrees_with_nvidia_smi_field_by_field() -> None:
    reading = asyncio.run(_read())
    assert reading.problem is None
    assert disagreements(reading, smi("-q", "-x")) == []
    # Not in the document: the compute capability.
    told = csv.reader(smi("--query-gpu=uuid,compute_cap", "--format=csv,noheader").splitlines(), skipinitialspace=True)
    ours = {gpu.uuid: ".".join(map(str, gpu.compute_capability or ())) for gpu in reading.gpus}
    assert ours == dict(told)


def test_its_health_is_watched() -> None:
    assert all(rules.watched(gpu) for gpu in asyncio.run(_read()).gpus)


def test_a_short_burn_finds_it_fit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "check", "--burn", "10s", "--json", "--state-dir", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    found = json.loads(said.stdout)
    assert [(gpu["fit"], gpu["findings"]) for gpu in found["gpus"] if not gpu["fit"]] == []
    for gpu in found["gpus"]:
        works = {work["name"]: work for work in gpu["burn"]["works"]}
        assert {"memory", "arithmetic"} <= works.keys()
        assert all(work["errors"] == 0 and work["figure"] > 0 for work in works.values())
