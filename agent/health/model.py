"""One sign of bad health that was seen."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Sign(enum.IntEnum):
    """What was seen; the numbers are those of the protocol's ``HealthSign``."""

    XID = 1
    ECC_UNCORRECTABLE = 2
    REMAP_PENDING = 3
    REMAP_FAILED = 4
    THERMAL_SLOWDOWN = 5
    POWER_BRAKE = 6
    NVLINK_ERRORS = 7
    PCIE_WIDTH = 8
    GPU_COUNT = 9
    OFF_THE_BUS = 10
    MEMORY_HELD = 11
    RECOVERY_ACTION = 12
    TEST_PASSED = 13
    TEST_FAILED = 14
    DRIVER = 15


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sign, and about what: an empty ``gpu_uuid`` stands for the driver, the bus or the host as a whole.

    ``code`` is the number that belongs to the sign: the XID, how many errors are new, how many PCIe lanes or GPUs are
    left, NVML's recovery action, the number of the test. ``at`` is of the clock that nobody sets; ``allocation``
    held the GPU then. ``sequence`` numbers what is reported once; what holds on is told with each reading and has 0.
    """

    gpu_uuid: str
    sign: Sign
    code: int = 0
    detail: str = ""
    at: float = 0.0
    allocation: str = ""
    sequence: int = 0
