"""What a reading says about whether GPUs are fit for work. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.hardware.diagnosis import Finding
from agent.health import rules
from agent.health.model import Sign
from agent.health.rules import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.hardware.model import Gpu, HardwareReport, Vitals

# What holds and yet lets a GPU calculate rightly: it is said, and fails no check.
_WARNINGS = frozenset({Sign.REMAP_PENDING, Sign.PCIE_WIDTH})
_WAYS_OUT = {
    Sign.REMAP_PENDING: "reset the GPU, or reboot, when nothing uses it",
    Sign.REMAP_FAILED: "have the card replaced",
    Sign.THERMAL_SLOWDOWN: "look after its cooling: fans, dust, air flow, neighbours",
    Sign.POWER_BRAKE: "look after the power supplies, their cables and the limit of the rack",
    Sign.NVLINK_ERRORS: "see 'nvidia-smi nvlink -s -i INDEX', and reseat card, bridge or baseboard",
    Sign.PCIE_WIDTH: "reseat card and riser; see 'nvidia-smi -q -i INDEX -d PCIE'",
    Sign.OFF_THE_BUS: "reboot; if it comes back, have card, power and slot checked",
    Sign.RECOVERY_ACTION: "do what its driver asks for when nothing uses it",
    Sign.MEMORY_HELD: "end the processes that hold it, or reset the GPU",
    Sign.ECC_UNCORRECTABLE: "reset the GPU when nothing uses it; if it comes back, have the card replaced",
}


def examine(gpu: Gpu) -> tuple[Finding, ...]:
    """What its driver says of a GPU: each sign of bad health that holds, and what can't be seen."""
    if gpu.problem is not None:
        way_out = gpu.problem.way_out.replace("INDEX", str(gpu.index))
        return (Finding("error", "driver", f"{gpu.problem.summary} [{gpu.problem.code}]", way_out),)
    if gpu.vitals is None:
        return (Finding("warn", "health", "its driver tells nothing of its health", "a newer driver may"),)
    found = [*_signs(gpu, gpu.vitals), *_ecc(gpu, gpu.vitals)]
    if not rules.watched(gpu):
        text = "its XIDs can't be watched" if not gpu.vitals.events else "its driver tells little of its health"
        found.append(Finding("warn", "health", text, "a newer driver, or a container with more rights, may tell it"))
    return tuple(found) or (Finding("ok", "health", _healthy(gpu, gpu.vitals)),)


def failures(report: HardwareReport, gpu_uuids: Sequence[str]) -> dict[str, str]:
    """Why these GPUs (or, where none is named, the host) are not fit for work, by uuid; empty: they are."""
    if report.gpu_problem is not None:
        return dict.fromkeys(gpu_uuids or ("",), report.gpu_problem.summary)
    if not gpu_uuids:
        host = [condition.detail for condition in report.conditions]
        bad = (f"{gpu.uuid}: {gpu.problem.summary}" for gpu in report.gpus if gpu.problem is not None)
        return {"": "; ".join([*host, *bad])}
    return {uuid: _failure([gpu for gpu in report.gpus if uuid in (gpu.uuid, gpu.parent)]) for uuid in gpu_uuids}


def _failure(gpus: Iterable[Gpu]) -> str:
    listed = list(gpus)
    if not listed:
        return "the driver does not list it"
    found = (finding.text for gpu in listed for finding in examine(gpu) if finding.level == "error")
    held = (c.detail for gpu in listed for c in gpu.conditions if c.sign is Sign.MEMORY_HELD)
    return "; ".join(dict.fromkeys([*found, *held]))


def _signs(gpu: Gpu, vitals: Vitals) -> Iterable[Finding]:
    known = Known()
    for _ in range(2):
        # What a link could be is only said of one that fails to be it twice; a check has no second reading to wait for.
        known = rules.learn(replace(gpu, vitals=vitals), known)
    for seen in rules.holding(gpu, known):
        level = "warn" if seen.sign in _WARNINGS else "error"
        topic = seen.sign.name.lower().replace("_", "-")
        yield Finding("warn" if level == "warn" else "error", topic, seen.detail, _way_out(seen.sign, gpu))


def _ecc(gpu: Gpu, vitals: Vitals) -> Iterable[Finding]:
    if vitals.ecc_volatile:
        text = f"{vitals.ecc_volatile} uncorrectable memory errors since its driver was loaded"
        yield Finding("warn", "ecc", text, _way_out(Sign.ECC_UNCORRECTABLE, gpu))


def _way_out(sign: Sign, gpu: Gpu) -> str:
    return _WAYS_OUT.get(sign, "see 'dmesg | grep -i -e nvrm -e xid'").replace("INDEX", str(gpu.index))


def _healthy(gpu: Gpu, vitals: Vitals) -> str:
    told = []
    if vitals.ecc_volatile is not None:
        told.append("no uncorrectable memory errors")
    if vitals.recovery_action is not None:
        told.append("no recovery asked for")
    if vitals.pcie_width is not None:
        told.append(f"PCIe x{vitals.pcie_width}")
    if vitals.links is not None:
        told.append(f"{sum(vitals.links)} NVLinks up")
    if gpu.temperature_c is not None:
        told.append(f"{gpu.temperature_c} °C")
    return ", ".join(told)
