"""What a node costs: its host's price, by the part of the host that it holds.

The part is the dominant share, the largest of its parts of the host's CPUs, memory and GPUs: who holds all GPUs of a
host leaves nothing that others would pay for. Prices are USD an hour; a host that states none costs nothing.
"""

from __future__ import annotations

from coordinator.core.model import Hardware, Host


def rate(host: Host, cpus: int, memory_bytes: int, gpus: int, share: float = 1.0) -> float:
    """USD an hour attributed to what holds so much of the host, and of each of its ``gpus`` the part ``share``."""
    price = host.facts.price_per_hour
    if not price or host.hardware is None:
        return 0.0
    return price * dominant(host.hardware, cpus, memory_bytes, gpus * share)


def dominant(hardware: Hardware, cpus: int, memory_bytes: int, gpus: float) -> float:
    """The largest of the parts of the hardware's CPUs, memory and GPUs, from 0 to 1. MIG instances are GPUs."""
    largest = cpus / hardware.cpus if hardware.cpus else 1.0
    if memory_bytes and hardware.memory_bytes:
        largest = max(largest, memory_bytes / hardware.memory_bytes)
    if gpus and hardware.gpus:
        largest = max(largest, gpus / len(hardware.gpus))
    # A host takes what asks for a little more memory than it shows (see fit): that is all of it, never more.
    return min(1.0, largest)
