"""The order in which hosts are offered work: cheapest first, then the roomiest, then by id (repeatable)."""

from __future__ import annotations

from coordinator.core.model import Host
from coordinator.core.spec import Spread
from coordinator.core.state import Usage


def price(host: Host) -> float:
    """USD an hour for the whole host; an owned host that states no price costs nothing more."""
    return host.facts.price_per_hour or 0.0


def preference(host: Host, usage: Usage, more_cpus: int = 0) -> tuple[float, float, int]:
    """Sort key of a host for the next node; lower is better. ``more_cpus``: as if so many more were held."""
    cpus = host.hardware.cpus if host.hardware is not None else 0
    held = (usage.cpus + more_cpus) / cpus if cpus else 1.0
    return (price(host), held, int(host.id.removeprefix("h-")))


def same_domain(spread: Spread, one: Host, other: Host) -> bool:
    """Whether what took ``one`` down may well take ``other`` down too, as far as a job spreads."""
    if spread is Spread.HOST or one.id == other.id:
        return one.id == other.id
    if spread is Spread.NETWORK:
        return one.facts.network is not None and one.facts.network == other.facts.network
    if spread is Spread.REGION:
        return (one.facts.backend, one.facts.region) == (other.facts.backend, other.facts.region)
    return one.facts.backend == other.facts.backend
