"""What this host is made of, read anew each time and never at the cost of the agent.

:func:`read_hardware` gives a :class:`HardwareReport`: the host through psutil, its GPUs through NVML. NVML lives in
a process of its own that :class:`NvmlProbe` owns, since a wedged driver holds its caller for ever. In a report,
``None`` is unknown, and a GPU that stops answering stays in the list with a :class:`Problem`.
`agent.hardware.doctor` explains it all to people.
"""

from agent.hardware.diagnosis import Finding, diagnose
from agent.hardware.driver import DriverFacts, read_driver_facts
from agent.hardware.model import (
    Address,
    Disk,
    Gpu,
    GpuEvent,
    GpuReading,
    HardwareReport,
    Interface,
    Problem,
    RdmaPort,
    SystemReading,
    Vitals,
)
from agent.hardware.nvml import NvmlProbe, ProbeTimes
from agent.hardware.report import read_hardware
from agent.hardware.system import read_system

__all__ = [
    "Address",
    "Disk",
    "DriverFacts",
    "Finding",
    "Gpu",
    "GpuEvent",
    "GpuReading",
    "HardwareReport",
    "Interface",
    "NvmlProbe",
    "ProbeTimes",
    "Problem",
    "RdmaPort",
    "SystemReading",
    "Vitals",
    "diagnose",
    "read_driver_facts",
    "read_hardware",
    "read_system",
]
