"""How well hosts are connected, and what that makes of a group: terms by which groups are compared and explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordinator.core.ids import HostId
from coordinator.core.model import Host
from coordinator.core.reachability import LATENCY_CLASSES, ReachMap

if TYPE_CHECKING:
    from coordinator.core.state import State

INFINIBAND = "InfiniBand"
# What the kernel calls the link layer of RoCE.
ETHERNET = "Ethernet"


@dataclass(frozen=True, slots=True)
class Link:
    """A host's ways to its peers, or what all members of a group have of them.

    ``rdma`` holds pairs of link layer and Gb/s of the fastest active port; ``speed_mbps`` is that of the interface that
    peers use, 0 when it is not known; ``nvlinks`` those of each GPU, 0 when there are none.
    """

    rdma: tuple[tuple[str, float], ...] = ()
    speed_mbps: int = 0
    nvlinks: int = 0


# Lower is better: without RDMA, its rate, no InfiniBand, and the slowest interface; then the class of the slowest pair,
# and that GPUs inside hosts are not linked.
Kind = tuple[int, float, int, int]
Badness = tuple[Kind, int, int]


def link_of(host: Host) -> Link:
    """The link of a host, as its agent reported it."""
    hardware = host.hardware
    if hardware is None:
        return Link()
    best = host.peer.addresses[0] if host.peer.addresses else ""
    ours = (i for i in hardware.interfaces if any(address.partition("/")[0] == best for address in i.addresses))
    rates: dict[str, float] = {}
    for port in hardware.rdma:
        if port.active:
            rates[port.link_layer] = max(rates.get(port.link_layer, 0.0), port.rate_gbps or 0.0)
    return Link(
        rdma=tuple(sorted(rates.items())),
        speed_mbps=next((interface.speed_mbps or 0 for interface in ours), 0),
        nvlinks=min((gpu.nvlinks or 0 for gpu in hardware.gpus if gpu.parent is None), default=0),
    )


def common(links: Iterable[Link]) -> Link:
    """What all of these have: the slowest counts."""
    known = list(links)
    if not known:
        return Link()
    # One after the other, because the same few kinds of links come again and again.
    kinds = set(known)
    layers = set.intersection(*({layer for layer, _ in link.rdma} for link in kinds))
    rdma = ((layer, min(dict(link.rdma)[layer] for link in kinds)) for layer in sorted(layers))
    return Link(tuple(rdma), min(link.speed_mbps for link in kinds), min(link.nvlinks for link in kinds))


def kind_of(link: Link) -> Kind:
    """How a link compares with others; lower is better."""
    best = min(((-rate, int(layer != INFINIBAND)) for layer, rate in link.rdma), default=None)
    if best is None:
        return (1, 0.0, 0, -link.speed_mbps)
    return (0, *best, -link.speed_mbps)


def best_layer(link: Link) -> str:
    """The link layer of the fastest RDMA ports; empty where there are none."""
    return min(link.rdma, key=lambda found: (-found[1], found[0] != INFINIBAND), default=("", 0.0))[0]


def badness(state: State, group: Sequence[HostId]) -> Badness:
    """How the links of a group compare with those of others; lower is better."""
    link = common(state.links[host] for host in group)
    return (kind_of(link), latency_class(state.reach, group), -link.nvlinks)


def latency_class(reach: ReachMap, group: Sequence[HostId]) -> int:
    """The class of the pair that is farthest apart; beyond all when one was not measured."""
    mask = reach.mask(group)
    slots = [slot for host in group if (slot := reach.slot(host)) is not None]
    for number, rows in enumerate(reach.within):
        if all(not mask & ~rows[slot] & ~(1 << slot) for slot in slots):
            return number
    return len(LATENCY_CLASSES)


def narrowed(links: Mapping[int, Link], speeds: int) -> list[tuple[Kind, list[int]]]:
    """The kinds of links that a group could have, the best first, each with those (by slot) that have it or a better
    one; the ``speeds`` highest rates and speeds are told apart."""
    found: dict[Kind, list[int]] = {}
    layers = {layer for link in links.values() for layer, _ in link.rdma}
    for layer in layers:
        rates = {slot: dict(link.rdma).get(layer, -1.0) for slot, link in links.items()}
        for rate in sorted(set(rates.values()) - {-1.0}, reverse=True)[:speeds]:
            able = {slot: link for slot, link in links.items() if rates[slot] >= rate}
            for speed in _highest(able.values(), speeds):
                kind = (0, -rate, int(layer != INFINIBAND), -speed)
                found[kind] = [slot for slot, link in able.items() if link.speed_mbps >= speed]
    for speed in _highest(links.values(), speeds):
        found[1, 0.0, 0, -speed] = [slot for slot, link in links.items() if link.speed_mbps >= speed]
    return sorted(found.items())


def _highest(links: Iterable[Link], most: int) -> list[int]:
    return [*sorted({link.speed_mbps for link in links}, reverse=True)[:most], 0]


def describe(state: State, group: Sequence[HostId]) -> str:
    """The links of a group in words, the slowest counting; empty for a single host, or when nothing is known."""
    if len(group) < 2:
        return ""
    link = common(state.links[host] for host in group)
    terms = [f"{_layer(layer)} {rate:g} Gb/s" if rate else _layer(layer) for layer, rate in reversed(link.rdma)]
    if link.speed_mbps:
        terms.append(f"slowest interface {_speed(link.speed_mbps)}")
    farthest = state.reach.slowest(group)
    if farthest is not None:
        # No probe is steadier than one digit.
        terms.append(f"farthest pair {float(f'{farthest * 1000:.1g}'):g} ms")
    if link.nvlinks:
        terms.append("NVLink inside hosts")
    return f"link: {', '.join(terms)}" if terms else ""


def _layer(layer: str) -> str:
    return "RoCE" if layer == ETHERNET else layer


def _speed(mbps: int) -> str:
    return f"{mbps / 1000:g} Gb/s" if mbps >= 1000 else f"{mbps} Mb/s"
