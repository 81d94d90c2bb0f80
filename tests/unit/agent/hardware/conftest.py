"""The stub NVML, a scenario file, and a clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from agent.hardware import Gpu, GpuReading, NvmlProbe, ProbeTimes
from tests.fakes.nvml import StubGpu, build_stub, stub_env, write_scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

# On two busy cores an example may take its time.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIMES = ProbeTimes(kill_grace=0.5, retry_driver=300, refresh_lost=60, hang_pause=30, longest_pause=100)


def code_of(gpu: Gpu) -> str | None:
    """The code of the GPU's problem, if it has one."""
    return None if gpu.problem is None else gpu.problem.code


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """A host whose GPUs a test decides on."""

    env: dict[str, str]
    scenario: Path
    clock: Clock = field(default_factory=Clock)

    def gpus(self, gpus: Iterable[StubGpu], **driver: Any) -> None:
        write_scenario(self.scenario, gpus, **driver)

    def run(self, steps: Callable[[NvmlProbe], Awaitable[None]]) -> None:
        async def probed() -> None:
            async with NvmlProbe(self.env, TIMES, self.clock) as probe:
                await steps(probe)

        asyncio.run(probed())

    def read(self) -> GpuReading:
        """One reading by a fresh probe."""
        readings: list[GpuReading] = []

        async def once(probe: NvmlProbe) -> None:
            readings.append(await probe.read())

        self.run(once)
        return readings[0]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def rig(library: Path, tmp_path: Path) -> Rig:
    scenario = tmp_path / "gpus"
    return Rig(env=os.environ | stub_env(library, scenario), scenario=scenario)
