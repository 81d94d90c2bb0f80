"""What `agent doctor` finds in a host's hardware: pure, from a report and the kernel's own view of the GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.hardware.driver import DriverFacts
    from agent.hardware.model import Gpu, HardwareReport, Problem

Level = Literal["ok", "warn", "error"]

GIB = 1 << 30
LITTLE_MEMORY = GIB // 2
LITTLE_DISK = 5 * GIB
# Jobs may ask for these, so a GPU that does not tell them is passed over by such jobs.
_PLACED_BY = ("name", "memory_bytes", "compute_capability")
_LIVE = ("pci_bus", "power_limit_watts", "utilization_percent", "memory_used_bytes", "temperature_c", "power_watts")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: how bad, about what, what is so, and (unless ok) how to mend it.

    ``detail``: what only those want to know who ask for all of it.
    """

    level: Level
    topic: str
    text: str
    way_out: str = ""
    detail: str = ""


def diagnose(report: HardwareReport, facts: DriverFacts) -> tuple[Finding, ...]:
    """Everything worth saying about this host's hardware, good and bad."""
    return (
        _cpu(report),
        _memory(report),
        *_disks(report),
        _network(report),
        *_rdma(report),
        *_driver(report, facts),
        *(_gpu(gpu) for gpu in report.gpus),
    )


def _cpu(report: HardwareReport) -> Finding:
    return Finding("ok", "cpu", f"{report.cpu_model or 'unknown model'}, {report.cpu_count} usable, {report.arch}")


def _memory(report: HardwareReport) -> Finding:
    total, free = report.memory_bytes, report.memory_available_bytes
    if total is None or free is None:
        return Finding("warn", "memory", "its size can't be read", "check that /proc is mounted where the agent runs")
    text = f"{_gib(free)} free of {_gib(total)}"
    if free < LITTLE_MEMORY:
        return Finding("warn", "memory", text, "end what uses it, or raise the limit of the agent's container or unit")
    return Finding("ok", "memory", text)


def _disks(report: HardwareReport) -> Iterator[Finding]:
    if not report.disks:
        yield Finding("warn", "disk", "no local disk can be read", "check that / is mounted and readable for the agent")
    for disk in report.disks:
        text = f"{disk.mount}: {_gib(disk.free_bytes)} free of {_gib(disk.total_bytes)}"
        if disk.free_bytes < min(LITTLE_DISK, disk.total_bytes // 10):
            yield Finding("warn", "disk", text, f"free some of {disk.mount}, or keep the agent's state on another disk")
        else:
            yield Finding("ok", "disk", text)


def _network(report: HardwareReport) -> Finding:
    usable = [i for i in report.interfaces if i.up and not i.loopback and i.addresses]
    if not usable:
        way_out = "bring an interface up and give it an address: see 'ip address'"
        return Finding("error", "network", "no interface but loopback is up with an address", way_out)
    return Finding("ok", "network", ", ".join(f"{i.name} {i.addresses[0].ip}" for i in usable))


def _rdma(report: HardwareReport) -> Iterator[Finding]:
    if not report.rdma:
        return
    text = ", ".join(f"{p.device}:{p.port} {p.link_layer}{_gbps(p.rate_gbps)} {p.state}" for p in report.rdma)
    if any(port.state == "ACTIVE" for port in report.rdma):
        yield Finding("ok", "rdma", text)
    else:
        way_out = "NCCL takes TCP meanwhile; see 'ibstat', the cables, and for InfiniBand the subnet manager"
        yield Finding("warn", "rdma", f"no port is active: {text}", way_out)


def _gbps(rate: float | None) -> str:
    return "" if rate is None else f" {rate:g} Gb/s"


def _driver(report: HardwareReport, facts: DriverFacts) -> Iterator[Finding]:
    problem = report.gpu_problem
    if problem is not None:
        problem = _explained(problem, facts)
        yield Finding("error", "driver", f"{problem.summary} [{problem.code}]", problem.way_out)
    elif report.gpus:
        driver, cuda = report.driver_version or "unknown", report.cuda_version or "unknown"
        yield Finding("ok", "driver", f"NVIDIA driver {driver}, CUDA up to {cuda}, GPUs: {len(report.gpus)}")
        yield from _uncounted(report, facts)
        if facts.lacking:
            # CUDA calls a set-uid program for that, which gives no node any rights.
            text = f"{', '.join(facts.lacking)} is not there: CUDA in a node that is not root's can't have it made"
            yield Finding("warn", "driver", text, "run 'nvidia-modprobe -u -c 0' as root at each boot of the machine")
    elif facts.pci_gpus:
        yield from _uncounted(report, facts)
    else:
        yield Finding("ok", "driver", "no NVIDIA GPU here; the host serves jobs that ask for none")


def _uncounted(report: HardwareReport, facts: DriverFacts) -> Iterator[Finding]:
    cards = {gpu.parent or gpu.uuid for gpu in report.gpus}
    if len(facts.pci_gpus) > len(cards):
        held = ", ".join(f"{gpu.address} ({gpu.driver or 'no driver'})" for gpu in facts.pci_gpus)
        yield Finding(
            "warn",
            "driver",
            f"the PCI bus has {len(facts.pci_gpus)} NVIDIA GPUs but the driver reports {len(cards)}: {held}",
            "nothing to do if this container was given only some of them; "
            "otherwise see 'dmesg | grep -i nvrm', and free those held by vfio-pci",
        )


def _explained(problem: Problem, facts: DriverFacts) -> Problem:
    """``problem`` with what the kernel adds to it."""
    if problem.code == "nvml-no-permission" and facts.denied:
        return replace(problem, summary=f"{problem.summary}: no access to {', '.join(facts.denied)}")
    if problem.code not in ("nvml-library-missing", "driver-not-loaded"):
        return problem
    if any(gpu.driver == "nouveau" for gpu in facts.pci_gpus):
        return replace(
            problem,
            summary=f"{problem.summary}; the GPU is held by the driver 'nouveau'",
            way_out="install NVIDIA's driver, put 'blacklist nouveau' into /etc/modprobe.d/nouveau.conf, and reboot",
        )
    gpus = f"{len(facts.pci_gpus)} NVIDIA GPU(s) on the PCI bus"
    if facts.module_version is None:
        return replace(problem, summary=f"{gpus}, but {problem.summary}")
    return replace(
        problem,
        summary=f"{gpus} and kernel driver {facts.module_version} loaded, but {problem.summary}",
    )


def _gpu(gpu: Gpu) -> Finding:
    who = f"{gpu.index}: {gpu.name or 'unknown model'} ({gpu.uuid})"
    if gpu.problem is not None:
        return Finding("error", "gpu", f"{who}: {gpu.problem.summary} [{gpu.problem.code}]", _named(gpu))
    lacking = _unknown(gpu, _PLACED_BY)
    if lacking:
        way_out = "jobs that ask for these are not placed on it; a newer driver may tell them"
        return Finding("warn", "gpu", f"{who} does not tell its {lacking}", way_out)
    # Of a part of a GPU drivers tell little.
    silent = "" if gpu.parent else _unknown(gpu, _LIVE)
    linked = f", {gpu.nvlinks} NVLinks up" if gpu.nvlinks else ""
    return Finding("ok", "gpu", f"{who}{linked}, does not tell its {silent}" if silent else f"{who}{linked}")


def _named(gpu: Gpu) -> str:
    assert gpu.problem is not None
    return gpu.problem.way_out.replace("INDEX", str(gpu.index))


def _unknown(gpu: Gpu, fields: tuple[str, ...]) -> str:
    return ", ".join(_spoken(field) for field in fields if getattr(gpu, field) is None)


def _spoken(field: str) -> str:
    for unit in ("_bytes", "_watts", "_percent", "_c"):
        field = field.removesuffix(unit)
    return field.replace("_", " ")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
