"""Our reading and `nvidia-smi -q -x` are compared field by field: here with a scripted one and the stub NVML.

With a real card `test_real_gpu.py` makes the same comparison. What is shown here is that it finds every difference.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes.nvidia_smi import FIELDS, disagreements, document
from tests.fakes.nvml import a100, h100, t4, unsupported

if TYPE_CHECKING:
    from agent.hardware import GpuReading
    from tests.fakes.nvml import StubGpu
    from tests.unit.agent.hardware.conftest import Rig

SICK = replace(
    h100(0),
    utilization=97,
    memory_used=70_000 << 20,
    temperature=88,
    power=688_500,
    ecc_volatile=3,
    ecc_aggregate=5,
    remapped="1,2,1,1",
    slowdown=0xC0,
    recovery_action=1,
    pcie_width=8,
    pcie_generation=3,
    processes="4711:1048576,4712:2097152",
)
OLD = replace(t4(1), remapped=None, retired_pages=2, retirement_pending=1, recovery_action=None)


@pytest.mark.parametrize("gpus", [(), (h100(0), a100(1)), (SICK, OLD), unsupported()])
def test_they_agree_in_every_field(rig: Rig, gpus: tuple[StubGpu, ...]) -> None:
    rig.gpus(gpus)
    assert disagreements(rig.read(), document(gpus)) == []


@pytest.fixture
def reading(rig: Rig) -> GpuReading:
    rig.gpus([SICK, OLD])
    return rig.read()


def leaves(element: ET.Element) -> list[ET.Element]:
    return [one for one in element.iter() if not len(one) and one.tag not in ("processes", "type")]


SWAPPED = {"Active": "Not Active", "Not Active": "Active", "Yes": "No", "No": "Yes", "Reset": "Reboot"}


def another(tag: str, text: str) -> str:
    """A value that means something else."""
    if text == "N/A":
        return "Yes" if "pending" in tag or "failure" in tag else "Reset" if "action" in tag else "99"
    is_number = text.split()[0].rstrip("x").replace(".", "").isdigit()
    return SWAPPED.get(text, "99999" if is_number else "another")


def test_every_value_of_the_document_that_is_another_is_found(reading: GpuReading) -> None:
    whole = document([SICK, OLD])
    blind = set()
    for place in range(len(leaves(ET.fromstring(whole)))):
        log = ET.fromstring(whole)
        leaf = leaves(log)[place]
        leaf.text = another(leaf.tag, leaf.text or "")
        if not disagreements(reading, ET.tostring(log, encoding="unicode")):
            blind.add(leaf.tag)
    # Said besides, and no value of a GPU; and an average that recent cards alone tell.
    assert blind == {"attached_gpus", "average_power_draw"}


def test_a_gpu_that_one_of_them_does_not_list_is_found(reading: GpuReading) -> None:
    assert disagreements(reading, document([SICK])) == ["number of GPUs: nvidia-smi says 1, we say 2"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<sram_uncorrectable_parity>0</sram_uncorrectable_parity><sram_uncorrectable_secded>1</sram_uncorrectable_secded>",
         "<sram_uncorrectable>1</sram_uncorrectable>"),
        ("clocks_event_reason", "clocks_throttle_reason"),
        ("gpu_power_readings", "power_readings"),
        ("instant_power_draw", "power_draw"),
    ],
)  # fmt: skip
def test_the_layouts_of_other_drivers_are_read(reading: GpuReading, old: str, new: str) -> None:
    whole = document([SICK, OLD])
    assert old in whole
    assert disagreements(reading, whole.replace(old, new)) == []


def test_each_field_is_compared_once() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
