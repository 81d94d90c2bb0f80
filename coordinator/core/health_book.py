"""How what is known of GPUs' health is written down: every change of a state with its reason, for all to look up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.core.changes import HealthUpdated
from coordinator.core.health_records import GpuHealth, Health, HostHealth
from coordinator.core.host_events import note
from coordinator.core.ids import HostId
from coordinator.core.model import Allocation, Host
from coordinator.core.state import State
from coordinator.core.turn import Turn


def of_host(state: State, host_id: HostId) -> HostHealth:
    """What is known of the host's GPUs; nothing at first."""
    return state.health.get(host_id) or HostHealth(host_id)


def put(turn: Turn, host_id: HostId, record: GpuHealth, **of_the_host: Any) -> None:
    """Write down what is held against a GPU, and further fields of its host's record."""
    health = of_host(turn.state, host_id)
    others = (known for known in health.gpus if known.gpu != record.gpu)
    gpus = tuple(sorted((*others, record), key=lambda known: known.gpu))
    turn.record(HealthUpdated(replace(health, gpus=gpus, **of_the_host)))


def enter(turn: Turn, host_id: HostId, record: GpuHealth, new: Health, reason: str, **of_the_host: Any) -> GpuHealth:
    """The GPU comes into a state, for a reason; what was seen last is noted with it."""
    host = turn.state.hosts[host_id]
    old = of_host(turn.state, host_id).of(record.gpu).state
    entered = replace(record, state=new, reason=reason, changed_at=turn.at.wall, since=turn.at.served)
    put(turn, host_id, entered, **of_the_host)
    text = f"{name_of(host, record.gpu)}: {old.value} -> {new.value}: {reason}"
    note(turn, host, "health", text, gpu=record.gpu, evidence=record.evidence)
    return entered


def name_of(host: Host, gpu: str) -> str:
    """A GPU as people call it: by its number, if that is known; of the host's own record what that is about."""
    if not gpu:
        return "GPU driver and bus"
    cards = () if host.hardware is None else host.hardware.gpus
    index = next((card.index for card in cards if card.device == gpu), None)
    return f"GPU {gpu}" if index is None else f"GPU {index} ({gpu})"


def devices(host: Host) -> tuple[str, ...]:
    """The uuids of the host's cards, in order; MIG instances are parts of one."""
    return () if host.hardware is None else tuple(dict.fromkeys(gpu.device for gpu in host.hardware.gpus))


def watched(host: Host) -> bool:
    """Whether the host's agent looks after its GPUs, and can test them."""
    return host.hardware is not None and any(gpu.watched for gpu in host.hardware.gpus)


def holders(state: State, host: Host, gpu: str) -> list[Allocation]:
    """What holds the GPU, or waits to; for the host's own record all that is on the host."""
    held = [state.allocations[a] for a in sorted(state.usage[host.id].allocations)]
    if not gpu:
        return held
    cards = () if host.hardware is None else host.hardware.gpus
    parts = {gpu, *(card.uuid for card in cards if card.device == gpu)}
    return [allocation for allocation in held if not parts.isdisjoint(allocation.gpus)]
