"""What NVML tells of a GPU's health. Part of the worker process: see `nvml_worker`.

What a GPU or its driver does not support is ``None``: that sign is then not watched, which is no error.
"""

from __future__ import annotations

TYPE_CHECKING = False  # As typing's own, without loading typing: this process stays for as long as the agent.
if TYPE_CHECKING:
    from typing import Any

    from agent.hardware.nvml_device import Device

UNCORRECTED = 1
VOLATILE, AGGREGATE = 0, 1
DOUBLE_BIT = 1
# Field ids. Older bindings have no names for the newest, and an unknown number is answered with "not supported".
RECOVERY_ACTION = 230
# Of a link: replays and recoveries up to NVLink 4, recoveries and failed ones from NVLink 5 on.
REPLAYS, RECOVERIES, FAILED, RECOVERED = 161, 162, 214, 215
# Which member of the union a value is in, by its type.
MEMBERS = {1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


def vitals(device: Device, links: list[bool] | None) -> dict[str, Any]:
    """Everything that says how a GPU does, besides what it is and how busy it is."""
    remapped = device.get(list, ("nvmlDeviceGetRemappedRows",))
    return {
        "ecc_volatile": device.get(count, ("nvmlDeviceGetTotalEccErrors", UNCORRECTED, VOLATILE)),
        "ecc_aggregate": device.get(count, ("nvmlDeviceGetTotalEccErrors", UNCORRECTED, AGGREGATE)),
        "remap_pending": None if remapped is None else bool(remapped[2]),
        "remap_failed": None if remapped is None else bool(remapped[3]),
        **({} if remapped else retired(device)),
        "slowdown": device.get(
            int, ("nvmlDeviceGetCurrentClocksEventReasons",), ("nvmlDeviceGetCurrentClocksThrottleReasons",)
        ),
        "recovery_action": fields(device, [RECOVERY_ACTION])[0],
        "pcie_width": device.get(count, ("nvmlDeviceGetCurrPcieLinkWidth",)),
        "pcie_max_width": device.get(count, ("nvmlDeviceGetMaxPcieLinkWidth",)),
        "pcie_generation": device.get(count, ("nvmlDeviceGetCurrPcieLinkGeneration",)),
        "pcie_max_generation": device.get(count, ("nvmlDeviceGetMaxPcieLinkGeneration",)),
        "links": links,
        "link_errors": link_errors(device, len(links or ())),
        "processes": device.get(processes, ("nvmlDeviceGetComputeRunningProcesses",)),
    }


def retired(device: Device) -> dict[str, Any]:
    """What cards before Ampere have instead of remapped rows."""
    return {
        "retired_pages": device.get(len, ("nvmlDeviceGetRetiredPages", DOUBLE_BIT)),
        "retirement_pending": device.get(bool, ("nvmlDeviceGetRetiredPagesPendingStatus",)),
    }


def link_errors(device: Device, links: int) -> list[int | None] | None:
    """Of each NVLink its replays and recoveries since the driver was loaded."""
    if not links:
        return None
    asked = (REPLAYS, RECOVERIES, FAILED, RECOVERED)
    told = fields(device, [(field, link) for link in range(links) for field in asked])
    of_each = [total(told[link * len(asked) : (link + 1) * len(asked)]) for link in range(links)]
    return None if total(of_each) is None else of_each


def total(values: list[int | None]) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def fields(device: Device, asked: list[Any]) -> list[int | None]:
    """The values of field ids, or of pairs with the number of a link; in one call, for there may be many."""
    values = device.get(list, ("nvmlDeviceGetFieldValues", asked))
    return [None] * len(asked) if values is None else [field(value) for value in values]


def field(value: Any) -> int | None:
    member = MEMBERS.get(value.valueType)
    if value.nvmlReturn != 0 or member is None:
        return None
    return count(getattr(value.value, member))


def count(value: int) -> int | None:
    # -1 in an unsigned int or long: NVML's way to say that it has no value.
    return None if value in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF) or value < 0 else int(value)


def processes(found: list[Any]) -> list[list[int | None]]:
    return [[int(process.pid), process.usedGpuMemory] for process in found]
