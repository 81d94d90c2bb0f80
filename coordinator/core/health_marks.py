"""What the health of GPUs means for the planner: marks on the records of hosts, put there whenever either changes."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.health_records import GpuHealth, Health, HostHealth
from coordinator.core.model import Host, HostState


def marked(host: Host, health: HostHealth | None) -> Host:
    """The host, with why it, or any of its GPUs, is fenced; the same object when that stands there already."""
    by_gpu = {} if health is None else {record.gpu: _why(record) for record in health.gpus}
    hardware = host.hardware if host.hardware is None else _marked(host.hardware, by_gpu)
    fenced = by_gpu.get("", "")
    if hardware is host.hardware and fenced == host.fenced:
        return host
    return replace(host, hardware=hardware, fenced=fenced)


def _marked(hardware: Hardware, by_gpu: dict[str, str]) -> Hardware:
    if all(gpu.fenced == by_gpu.get(gpu.device, "") for gpu in hardware.gpus):
        return hardware
    return replace(hardware, gpus=tuple(_mark(gpu, by_gpu.get(gpu.device, "")) for gpu in hardware.gpus))


def _mark(gpu: Gpu, fenced: str) -> Gpu:
    return gpu if gpu.fenced == fenced else replace(gpu, fenced=fenced)


def _why(record: GpuHealth) -> str:
    if not record.state.fenced:
        return ""
    subject = "is" if record.gpu else "its GPU driver or bus is"
    return f"{subject} {record.state.value}: {record.reason}"


def standings(host: Host, health: HostHealth | None) -> tuple[GpuHealth, ...]:
    """How each card of the host stands, for people; before them, if there is something to say, its driver and bus."""
    own = () if health is None or health.of("").state is Health.HEALTHY else (health.of(""),)
    cards: dict[str, Gpu] = {}
    for gpu in () if host.hardware is None else host.hardware.gpus:
        cards.setdefault(gpu.device, gpu)
    return (*own, *(standing(host, health, gpu) for gpu in cards.values()), *_missing(host, health))


def _missing(host: Host, health: HostHealth | None) -> tuple[GpuHealth, ...]:
    """What is held against cards that the host does not show any more."""
    shown = {""} | ({gpu.device for gpu in host.hardware.gpus} if host.hardware is not None else set())
    records = () if health is None else health.gpus
    return tuple(r for r in records if r.gpu not in shown and r.state is not Health.HEALTHY)


def standing(host: Host, health: HostHealth | None, gpu: Gpu) -> GpuHealth:
    """How a GPU stands, for people. A MIG instance stands as its card does.

    UNKNOWN: nobody looks after it, or nobody has been heard of who would.
    """
    record = GpuHealth(gpu.device) if health is None else health.of(gpu.device)
    if record.state is not Health.HEALTHY:
        return record
    if not gpu.watched:
        return replace(record, state=Health.UNKNOWN, reason="its agent does not look after it")
    if host.state in (HostState.OFFLINE, HostState.LOST):
        return replace(record, state=Health.UNKNOWN, reason=f"its host is {host.state.value}")
    return record
