"""What `nvidia-smi -q -x` says, compared with what we read, field by field; and a scripted one for hosts without a GPU.

The comparison is the same for both: `disagreements(reading, xml)` is empty where they say the same. The scripted
document is made from the stub's GPUs in the layout of drivers from 550 on; only a real card can show that the two
libraries mean the same by a field.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.hardware.model import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.hardware import Gpu, GpuReading
    from tests.fakes.nvml import StubGpu

MIB = 1 << 20
ACTIONS = ("None", "Reset", "Reboot", "Drain P2P", "Drain and Reset")
THERMAL, POWER_BRAKE = 0x40, 0x80
POWER = ("gpu_power_readings", "power_readings")
LINK = "pci/pci_gpu_link_info"


@dataclass(frozen=True)
class Field:
    """How a value stands in the document (``theirs``: None where it says that there is none) and in our reading.

    ``within``: live values move between the two readings.
    """

    name: str
    theirs: Callable[[ET.Element], object]
    ours: Callable[[Gpu], object]
    within: float = 0.0


def said(gpu: ET.Element, *paths: str) -> str | None:
    """The text at the first of these paths that has a value."""
    for path in paths:
        text = (gpu.findtext(path) or "").strip()
        if text and not text.startswith(("N/A", "[", "Requested functionality")):
            return text
    return None


def amount(gpu: ET.Element, *paths: str) -> float | None:
    """A number with or without a unit: ``81559 MiB``, ``16x``, ``70.00 W``."""
    text = said(gpu, *paths)
    return None if text is None else float(text.split()[0].rstrip("x"))


def truth(gpu: ET.Element, *paths: str) -> bool | None:
    text = said(gpu, *paths)
    return None if text is None else text in ("Yes", "Active")


def errors(gpu: ET.Element, counter: str) -> float | None:
    """Uncorrectable errors, whatever parts this driver tells them in."""
    place = gpu.find(f"ecc_errors/{counter}")
    if place is None:
        return None
    modern = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable")
    parts = [amount(place, part) for part in (*modern, "double_bit/total")]
    told = [part for part in parts if part is not None]
    return sum(told) if told else None


def reason(gpu: ET.Element, name: str) -> bool | None:
    return truth(
        gpu,
        f"clocks_event_reasons/clocks_event_reason_{name}",
        f"clocks_throttle_reasons/clocks_throttle_reason_{name}",
    )


def action(gpu: ET.Element) -> int | None:
    text = said(gpu, "gpu_recovery_action")
    return None if text is None else ACTIONS.index(text)


def vitals(gpu: Gpu) -> Vitals:
    return gpu.vitals or Vitals()


def bit(gpu: Gpu, mask: int) -> bool | None:
    reasons = vitals(gpu).slowdown
    return None if reasons is None else bool(reasons & mask)


def processes(gpu: ET.Element) -> set[int] | None:
    if (gpu.findtext("processes") or "").strip() == "N/A":
        return None
    # Graphics programs (type G) are none that NVML counts among those that compute.
    found = gpu.findall("processes/process_info")
    return {int(one.findtext("pid") or 0) for one in found if "C" in (one.findtext("type") or "C")}


def our_processes(gpu: Gpu) -> set[int] | None:
    told = vitals(gpu).processes
    return None if told is None else {process.pid for process in told}


FIELDS = (
    Field("uuid", lambda g: said(g, "uuid"), lambda g: g.uuid),
    Field("name", lambda g: said(g, "product_name"), lambda g: g.name),
    Field("pci_bus", lambda g: said(g, "pci/pci_bus_id"), lambda g: g.pci_bus),
    Field("memory", lambda g: amount(g, "fb_memory_usage/total"), lambda g: g.memory_bytes and g.memory_bytes // MIB),
    Field(
        "memory used",
        lambda g: amount(g, "fb_memory_usage/used"),
        lambda g: None if g.memory_used_bytes is None else g.memory_used_bytes / MIB,
        within=2048,
    ),
    Field("utilization", lambda g: amount(g, "utilization/gpu_util"), lambda g: g.utilization_percent, within=100),
    Field("temperature", lambda g: amount(g, "temperature/gpu_temp"), lambda g: g.temperature_c, within=10),
    Field(
        "power",
        lambda g: amount(g, *(f"{kind}/{name}" for kind in POWER for name in ("power_draw", "instant_power_draw"))),
        lambda g: g.power_watts,
        within=400,
    ),
    Field(
        "power limit",
        lambda g: amount(g, *(f"{kind}/{name}" for kind in POWER for name in ("current_power_limit", "power_limit"))),
        lambda g: g.power_limit_watts,
        within=0.01,
    ),
    Field("ecc volatile", lambda g: errors(g, "volatile"), lambda g: vitals(g).ecc_volatile),
    Field("ecc aggregate", lambda g: errors(g, "aggregate"), lambda g: vitals(g).ecc_aggregate),
    Field("remap pending", lambda g: truth(g, "remapped_rows/remapped_row_pending"), lambda g: vitals(g).remap_pending),
    Field("remap failed", lambda g: truth(g, "remapped_rows/remapped_row_failure"), lambda g: vitals(g).remap_failed),
    Field(
        "retired pages",
        lambda g: amount(g, "retired_pages/double_bit_retirement/retired_count"),
        lambda g: vitals(g).retired_pages,
    ),
    Field(
        "retirement pending",
        lambda g: truth(g, "retired_pages/pending_retirement"),
        lambda g: vitals(g).retirement_pending,
    ),
    Field("thermal slowdown", lambda g: reason(g, "hw_thermal_slowdown"), lambda g: bit(g, THERMAL)),
    Field("power brake", lambda g: reason(g, "hw_power_brake_slowdown"), lambda g: bit(g, POWER_BRAKE)),
    Field("recovery action", action, lambda g: vitals(g).recovery_action),
    Field("pcie width", lambda g: amount(g, f"{LINK}/link_widths/current_link_width"), lambda g: vitals(g).pcie_width),
    Field(
        "pcie max width", lambda g: amount(g, f"{LINK}/link_widths/max_link_width"), lambda g: vitals(g).pcie_max_width
    ),
    Field(
        "pcie generation",
        lambda g: amount(g, f"{LINK}/pcie_gen/current_link_gen"),
        lambda g: vitals(g).pcie_generation,
        # It changes with the load, from one moment to the next.
        within=5,
    ),
    Field(
        "pcie max generation",
        lambda g: amount(g, f"{LINK}/pcie_gen/max_link_gen"),
        lambda g: vitals(g).pcie_max_generation,
    ),
    Field("processes", processes, our_processes),
)


def disagreements(reading: GpuReading, document: str) -> list[str]:
    """Every field of every GPU in which ``nvidia-smi -q -x`` and our reading do not say the same."""
    log = ET.fromstring(document)
    theirs, ours = log.findall("gpu"), list(reading.gpus)
    found = [*_differ("driver", said(log, "driver_version"), reading.driver_version)]
    found += _differ("CUDA", said(log, "cuda_version"), reading.cuda_version)
    found += _differ("number of GPUs", len(theirs), len(ours))
    for they, we in zip(theirs, ours, strict=False):
        for field in FIELDS:
            found += _differ(f"GPU {we.index}, {field.name}", field.theirs(they), field.ours(we), field.within)
    return found


def _differ(what: str, theirs: object, ours: object, within: float = 0.0) -> Iterator[str]:
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        same = abs(theirs - ours) <= within
    else:
        same = theirs == ours
    if not same:
        yield f"{what}: nvidia-smi says {theirs!r}, we say {ours!r}"


# --- a scripted one ---------------------------------------------------------------------------------------------------


def document(gpus: Iterable[StubGpu], driver: str = "580.95.05", cuda: str = "13.0") -> str:
    """What a scripted nvidia-smi says of the stub's GPUs."""
    listed = list(gpus)
    body = "".join(_gpu(gpu) for gpu in listed)
    head = f"<driver_version>{driver}</driver_version><cuda_version>{cuda}</cuda_version>"
    head += f"<attached_gpus>{len(listed)}</attached_gpus>"
    return f"<?xml version='1.0' ?><nvidia_smi_log>{head}{body}</nvidia_smi_log>"


def _gpu(gpu: StubGpu) -> str:
    rows = str(gpu.remapped).split(",") if gpu.remapped is not None else [None] * 4
    slow = None if gpu.slowdown is None else int(gpu.slowdown)
    told = {
        "product_name": gpu.name,
        "uuid": gpu.uuid,
        "gpu_recovery_action": None if gpu.recovery_action is None else ACTIONS[int(gpu.recovery_action)],
        "pci": {
            "pci_bus_id": gpu.pci_bus,
            "pci_gpu_link_info": {
                "pcie_gen": {"max_link_gen": gpu.pcie_max_generation, "current_link_gen": gpu.pcie_generation},
                "link_widths": {
                    "max_link_width": _with(gpu.pcie_max_width, "x"),
                    "current_link_width": _with(gpu.pcie_width, "x"),
                },
            },
        },
        "clocks_event_reasons": {
            "clocks_event_reason_hw_thermal_slowdown": _active(slow, THERMAL),
            "clocks_event_reason_hw_power_brake_slowdown": _active(slow, POWER_BRAKE),
        },
        "fb_memory_usage": {
            "total": _with(_divided(gpu.memory, MIB), " MiB"),
            "used": _with(_divided(gpu.memory_used, MIB), " MiB"),
        },
        "utilization": {"gpu_util": _with(gpu.utilization, " %")},
        "ecc_errors": {
            "volatile": _parts(gpu.ecc_volatile),
            "aggregate": _parts(gpu.ecc_aggregate),
        },
        "retired_pages": {
            "double_bit_retirement": {"retired_count": gpu.retired_pages},
            "pending_retirement": _yes(gpu.retirement_pending),
        },
        "remapped_rows": {"remapped_row_pending": _yes(rows[2]), "remapped_row_failure": _yes(rows[3])},
        "temperature": {"gpu_temp": _with(gpu.temperature, " C")},
        "gpu_power_readings": {
            "average_power_draw": "N/A",
            "instant_power_draw": _watts(gpu.power),
            "current_power_limit": _watts(gpu.power_limit),
        },
    }
    pids = (pair.partition(":")[0] for pair in str(gpu.processes or "").split(",") if pair)
    running = "".join(f"<process_info><pid>{pid}</pid><type>C</type></process_info>" for pid in pids)
    return f"<gpu>{_elements(told)}<processes>{'N/A' if gpu.processes is None else running}</processes></gpu>"


def _elements(told: dict[str, object]) -> str:
    inner = ((name, _elements(value) if isinstance(value, dict) else _text(value)) for name, value in told.items())
    return "".join(f"<{name}>{text}</{name}>" for name, text in inner)


def _text(value: object) -> str:
    return "N/A" if value is None else str(value)


def _with(value: object, unit: str) -> str | None:
    return None if value is None else f"{value}{unit}"


def _divided(value: object, by: int) -> int | None:
    return None if value is None else int(str(value)) // by


def _watts(milliwatts: object) -> str | None:
    return None if milliwatts is None else f"{int(str(milliwatts)) / 1000:.2f} W"


def _active(reasons: int | None, mask: int) -> str | None:
    return None if reasons is None else ("Active" if reasons & mask else "Not Active")


def _yes(value: object) -> str | None:
    return None if value is None else ("Yes" if int(str(value)) else "No")


def _parts(total: object) -> dict[str, object]:
    """Spread over the parts, as drivers do: one of SRAM's, the rest of DRAM's."""
    if total is None:
        return dict.fromkeys(("sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable"))
    sram = min(1, int(str(total)))
    return {
        "sram_uncorrectable_parity": 0,
        "sram_uncorrectable_secded": sram,
        "dram_uncorrectable": int(str(total)) - sram,
    }
