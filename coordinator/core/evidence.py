"""What agents say about the health of GPUs: signs that were seen once (evidence), and those that hold (conditions).

An agent only reports. What follows from a sign stands in ``verdicts``, what becomes of the GPU in ``health``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Sign(Enum):
    """What was seen. ``OTHER``: something that only a newer coordinator knows."""

    XID = "xid"
    ECC_UNCORRECTABLE = "ecc-uncorrectable"
    REMAP_PENDING = "remap-pending"
    REMAP_FAILED = "remap-failed"
    THERMAL_SLOWDOWN = "thermal-slowdown"
    POWER_BRAKE = "power-brake"
    NVLINK_ERRORS = "nvlink-errors"
    PCIE_WIDTH = "pcie-width"
    GPU_COUNT = "gpu-count"
    OFF_THE_BUS = "off-the-bus"
    MEMORY_HELD = "memory-held"
    RECOVERY_ACTION = "recovery-action"
    TEST_PASSED = "test-passed"
    TEST_FAILED = "test-failed"
    DRIVER = "driver"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Condition:
    """A sign that holds now. ``code`` means something else for each sign; ``detail`` is for people."""

    sign: Sign
    code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sign that was seen once, ``seconds_ago``, on one GPU (empty: on the host, its bus or its driver).

    ``allocation_id`` held the GPU then, if that is known. A host numbers what it says: no ``sequence`` comes twice.
    """

    gpu: str
    sign: Sign
    code: int = 0
    detail: str = ""
    seconds_ago: float = 0.0
    allocation_id: str = ""
    sequence: int = 0
