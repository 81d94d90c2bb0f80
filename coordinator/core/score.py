"""The order in which hosts are offered work: cheapest first, then the roomiest, then by id (repeatable)."""

from __future__ import annotations

from coordinator.core.costs import dominant
from coordinator.core.model import Host
from coordinator.core.spec import Spread
from coordinator.core.usage import Usage

# What hosts are compared by for one node; the least is the best.
Key = tuple[float, float, int]


def price(host: Host) -> float:
    """USD an hour for the whole host; an owned host that states no price costs nothing more."""
    return host.facts.price_per_hour or 0.0


def preference(host: Host, usage: Usage, more_cpus: int = 0) -> Key:
    """Sort key of a host as a whole; lower is better. ``more_cpus``: as if so many more were held."""
    cpus = host.hardware.cpus if host.hardware is not None else 0
    held = (usage.cpus + more_cpus) / cpus if cpus else 1.0
    return (price(host), held, number(host))


def key(host: Host, usage: Usage, part: float) -> Key:
    """How good the host is for one more node that holds ``part`` of it: by its price, then by what is held there."""
    assert host.hardware is not None
    held = dominant(host.hardware, usage.cpus, usage.memory_bytes, len(usage.gpus))
    return (price(host) * part, held, number(host))


def number(host: Host) -> int:
    """The number in the host's id: what decides when nothing else does."""
    return int(host.id[2:])


def same_domain(spread: Spread, one: Host, other: Host) -> bool:
    """Whether what took ``one`` down may well take ``other`` down too, as far as a job spreads."""
    if spread is Spread.HOST or one.id == other.id:
        return one.id == other.id
    if spread is Spread.NETWORK:
        return one.facts.network is not None and one.facts.network == other.facts.network
    if spread is Spread.REGION:
        return (one.facts.backend, one.facts.region) == (other.facts.backend, other.facts.region)
    return one.facts.backend == other.facts.backend
