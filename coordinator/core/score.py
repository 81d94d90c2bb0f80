"""What makes one host better than another for the next node of a job: the terms, and the order that they make.

``optimize: cost`` (the default) goes by what the node is expected to cost, then by who is done sooner, nearer, and
roomier; ``latency`` by what is nearest, then by cost; ``spread`` by how many nodes of the job are in the same domain
and on the same host, then by cost; ``pack`` by who is fullest, then by cost. The host's number decides what is left.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import NamedTuple

from coordinator.core.costs import dominant
from coordinator.core.model import Host
from coordinator.core.spec import Optimize, Spread
from coordinator.core.usage import Usage

# What hosts are compared by for one node; the least is the best.
Key = tuple[float, ...]


class Terms(NamedTuple):
    """What is said of one host for one node of a job."""

    # USD an hour of what the node would hold.
    rate: float
    # Expected, for the whole node.
    hours: float
    # Seconds to what the job wants to be near to, or else to the coordinator; infinite when it is not known.
    latency: float
    # The part of the host that is held already.
    held: float
    # Nodes of this job in the same domain, and on the host; counted only when it spreads them.
    domain: int
    here: int
    number: int

    @property
    def cost(self) -> float:
        """USD for the whole node."""
        return self.rate * self.hours


def key(optimize: Optimize, terms: Terms, *, near: bool = True) -> Key:
    """The terms in the order in which they count. ``near``: the latency is that to what the job wants to be near to."""
    rate, hours, latency, held, domain, here, number = terms
    cost = rate * hours
    # A host that came just now has not told yet how far the coordinator is: that speaks against nobody.
    about = _about(latency) if near or latency < inf else 0.0
    if optimize is Optimize.COST:
        return (cost, hours, about, held, number)
    if optimize is Optimize.LATENCY:
        return (round(latency, 3), cost, hours, held, number)
    if optimize is Optimize.SPREAD:
        return (domain, here, cost, hours, about, held, number)
    return (-held, cost, hours, about, number)


def _about(latency: float) -> float:
    """To ten milliseconds: less must not outweigh room."""
    return round(latency, 2)


def held_of(host: Host, usage: Usage) -> float:
    """The part of the host that is held: the largest of those of its CPUs, memory and GPUs."""
    assert host.hardware is not None
    return dominant(host.hardware, usage.cpus, usage.memory_bytes, usage.gpu_count)


def price(host: Host) -> float:
    """USD an hour for the whole host; an owned host that states no price costs nothing more."""
    return host.facts.price_per_hour or 0.0


def preference(host: Host, usage: Usage, more_cpus: int = 0) -> Key:
    """Sort key of a host as a whole; lower is better. ``more_cpus``: as if so many more were held."""
    cpus = host.hardware.cpus if host.hardware is not None else 0
    held = (usage.cpus + more_cpus) / cpus if cpus else 1.0
    return (price(host), held, number(host))


def number(host: Host) -> int:
    """The number in the host's id: what decides when nothing else does."""
    return int(host.id[2:])


def domain_of(spread: Spread, host: Host) -> Hashable:
    """What the host shares with others that may go down with it, as far as a job spreads."""
    if spread is Spread.NETWORK and host.facts.network is not None:
        return host.facts.network
    if spread is Spread.REGION:
        return (host.facts.backend, host.facts.region)
    return (host.facts.backend,) if spread is Spread.BACKEND else host.id


def same_domain(spread: Spread, one: Host, other: Host) -> bool:
    """Whether what took ``one`` down may well take ``other`` down too, as far as a job spreads."""
    return one.id == other.id or domain_of(spread, one) == domain_of(spread, other)
