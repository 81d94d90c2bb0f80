"""Puts the two halves of a host's hardware report together."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agent.hardware.driver import pci_gpus
from agent.hardware.model import GpuReading, HardwareReport, Problem, SystemReading
from agent.hardware.system import read_system

if TYPE_CHECKING:
    from agent.hardware.nvml import NvmlProbe


async def read_hardware(probe: NvmlProbe) -> HardwareReport:
    """The host as it is now. A driver that hangs delays it by the probe's time limit; nothing makes it fail."""
    system, gpus = await asyncio.gather(asyncio.to_thread(read_system), probe.read())
    return _joined(system, gpus, _worth_telling(gpus))


def _worth_telling(gpus: GpuReading) -> Problem | None:
    """A host without any NVIDIA GPU lacks the driver too, and has no problem."""
    missing = gpus.problem is not None and gpus.problem.code in ("nvml-library-missing", "driver-not-loaded")
    return None if missing and not gpus.gpus and not pci_gpus() else gpus.problem


def _joined(system: SystemReading, gpus: GpuReading, problem: Problem | None) -> HardwareReport:
    host: dict[str, Any] = {field.name: getattr(system, field.name) for field in fields(system)}
    return HardwareReport(
        **host,
        gpus=gpus.gpus,
        driver_version=gpus.driver_version,
        cuda_version=gpus.cuda_version,
        gpu_problem=problem,
    )
