"""Networks are seen, not believed: which hosts may form a group, judged by what probes showed.

A host's stated network narrows it (hosts of two different stated networks are never grouped) and is checked; a host
that states none is grouped by probes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coordinator.core import cliques, links
from coordinator.core.ids import HostId
from coordinator.core.model import Host, HostState
from coordinator.core.state import State


@dataclass(frozen=True, slots=True)
class Network:
    """Hosts that all reach each other, best first."""

    name: str
    members: tuple[HostId, ...]


def common_address(state: State, target: HostId, members: Iterable[HostId]) -> str | None:
    """The best address of ``target`` at which all the other members reached it; None when there is none."""
    return common_addresses(state, [target], [*members, target])[target]


def common_addresses(state: State, targets: Iterable[HostId], members: Sequence[HostId]) -> dict[HostId, str | None]:
    """The same for each of ``targets``, which are members, too."""
    mask = state.reach.mask(members)
    alone = len(set(members)) == 1
    return {target: _address(state, target, mask, alone) for target in targets}


def _address(state: State, target: HostId, members: int, alone: bool) -> str | None:
    candidates = state.hosts[target].peer.addresses
    if alone:
        return candidates[0] if candidates else "127.0.0.1"
    shared = state.reach.reached_by_all(target, members)
    return next((address for address in candidates if address in shared), None)


def joinable(state: State, hosts: Iterable[Host], members: Sequence[HostId]) -> Iterator[Host]:
    """Those of ``hosts`` that are in one network with all members: probed both ways, and no stated network denies it.

    They need not be in one with each other.
    """
    reach, mask = state.reach, state.reach.mask(members)
    if any(reach.slot(member) is None for member in members):
        return
    named = {state.hosts[member].facts.network for member in members} - {None}
    for host in hosts:
        slot = reach.slot(host.id)
        known = slot is not None and not mask & ~reach.near[slot]
        if known and len(named | ({host.facts.network} - {None})) <= 1:
            yield host


def joins(state: State, host: Host, members: Sequence[HostId]) -> bool:
    """Whether the host is in one network with all of these."""
    return any(joinable(state, [host], members))


def pools(candidates: Sequence[Host]) -> list[list[Host]]:
    """``candidates`` divided by stated network, in their order; who states none may be in any."""
    named: dict[str, list[int]] = {}
    free: list[int] = []
    for place, host in enumerate(candidates):
        (free if host.facts.network is None else named.setdefault(host.facts.network, [])).append(place)
    found = [sorted(places + free) if free else places for _, places in sorted(named.items())]
    # Last, and only if it is not in another one already: it is, as far as there is any that is stated.
    found.append(free)
    return [[candidates[place] for place in places] for places in found if places]


def slots(state: State, hosts: Iterable[Host]) -> list[int]:
    """The rows of these hosts, in their order; of those that have one."""
    found = (state.reach.slot(host.id) for host in hosts)
    return [slot for slot in found if slot is not None]


def largest_group(state: State, candidates: Sequence[Host]) -> tuple[HostId, ...]:
    """The largest set of mutual neighbours that was found among ``candidates``."""
    groups = [_largest(state, pool) for pool in pools(candidates)]
    return max(groups, key=len, default=())


def group_around(state: State, host: Host, candidates: Sequence[Host]) -> tuple[HostId, ...]:
    """The largest set of mutual neighbours with ``host`` in it that was found among ``candidates``."""
    with_it = [pool for pool in pools(candidates) if host in pool]
    groups = [_largest(state, pool, around=host) for pool in with_it if state.reach.slot(host.id) is not None]
    return max(groups, key=len, default=(host.id,))


def _largest(state: State, pool: Sequence[Host], around: Host | None = None) -> tuple[HostId, ...]:
    reach, order = state.reach, slots(state, pool)
    if not order:
        return (pool[0].id,)
    seed = None if around is None else reach.slot(around.id)
    found = cliques.largest(order, reach.close, seed)
    if len(found) < len(order) and not alike(state, order):
        found = max(found, by_address(state, order, len(order), seed), key=len)
    return tuple(reach.at(slot) for slot in found)


def alike(state: State, order: Sequence[int]) -> bool:
    """Whether all neighbours among these are close: other addresses than the best ones then add nothing."""
    reach, pool = state.reach, cliques.mask_of(order)
    return not any((reach.near[slot] ^ reach.close[slot]) & pool for slot in order)


def by_address(state: State, order: Sequence[int], size: int, seed: int | None = None) -> list[int]:
    """A set of at most ``size`` neighbours when some can't be reached at their best address: any common one will do."""
    best: list[int] = []
    tries = max(1, min(cliques.MAX_SEEDS, cliques.MAX_LOOKS // (len(order) * size + 1)))
    for start in order[:tries] if seed is None else (seed,):
        best = max(best, _grow_by_address(state, order, size, start), key=len)
        if len(best) == size:
            break
    return best


def _grow_by_address(state: State, order: Sequence[int], size: int, seed: int) -> list[int]:
    reach = state.reach
    # For each member those of its addresses at which all others reach it, as the bits of who does.
    usable: dict[int, list[int]] = {seed: reach.doors(reach.at(seed))}
    members, shared = 1 << seed, reach.near[seed]
    for slot in order:
        if len(usable) == size:
            break
        if not shared >> slot & 1:
            continue
        own = [door for door in reach.doors(reach.at(slot)) if not members & ~door]
        left = {member: [door for door in doors if door >> slot & 1] for member, doors in usable.items()}
        if own and all(left.values()):
            usable = {**left, slot: own}
            members |= 1 << slot
            shared &= reach.near[slot]
    return list(usable)


def describe_group(state: State, hosts: Sequence[HostId]) -> str:
    """Why a group is worth what it is, in words: ``link: InfiniBand 400 Gb/s, slowest interface 100 Gb/s, …``."""
    return links.describe(state, hosts)


def networks(state: State) -> tuple[Network, ...]:
    """Every host with a peer endpoint, in disjoint networks: stated ones first, then what probes show."""
    online = [h for h in state.hosts.values() if h.peer.port and h.state in (HostState.ONLINE, HostState.SUSPECT)]
    groups: list[tuple[HostId, ...]] = []
    for part in _parts(state, online):
        left = part
        while left:
            group = largest_group(state, left)
            groups.append(group)
            taken = set(group)
            left = [host for host in left if host.id not in taken]
    place = {host.id: number for number, host in enumerate(online)}
    groups.sort(key=lambda group: (-len(group), not _stated(state, group), place[group[0]]))
    found, number = [], 0
    for group in groups:
        stated = _stated(state, group)
        number += not stated
        found.append(Network(stated[0] if stated else f"net-{number}", group))
    return tuple(found)


def _stated(state: State, group: Iterable[HostId]) -> list[str]:
    return sorted({name for host in group if (name := state.hosts[host].facts.network)})


def _parts(state: State, hosts: Sequence[Host]) -> list[list[Host]]:
    """Hosts in parts between which nobody reaches anybody."""
    reach = state.reach
    by_slot = {reach.slot(host.id): host for host in hosts}
    alone = [[host] for host in hosts if reach.slot(host.id) is None]
    order = slots(state, hosts)
    parts = cliques.parts(order, reach.near) if order else []
    return [[by_slot[slot] for slot in part] for part in parts] + alone


def stated_but_denied(state: State, host: Host) -> str:
    """What is wrong with a host's stated network; empty when probes agree or have not come back."""
    if host.facts.network is None:
        return ""
    reach, slot = state.reach, state.reach.slot(host.id)
    peers = [h for h in state.hosts.values() if h.facts.network == host.facts.network and h.id != host.id]
    missing = [
        peer.name
        for peer in peers
        if not (slot is not None and reach.near[slot] & reach.bit(peer.id))
        and reach.probed(host.id, peer.id)
        and reach.probed(peer.id, host.id)
    ]
    if not missing:
        return ""
    return f"states network {host.facts.network}, but does not reach, or is not reached by, {', '.join(missing[:5])}"


def broken_links(state: State, among: Iterable[HostId]) -> tuple[str, ...]:
    """The directed pairs among hosts that were probed and failed: ``a -> b at ADDRESS: reason``."""
    members = list(among)
    found = []
    for source in members:
        for target in members:
            failure = state.reach.failure(source, target) if source != target else None
            if failure is not None:
                found.append(describe_failure(state, source, target))
    return tuple(found)


def describe_failure(state: State, source: HostId, target: HostId) -> str:
    """Both ends, the address and the reason of a failed link."""
    failure = state.reach.failure(source, target)
    ends = f"{state.hosts[source].name} -> {state.hosts[target].name}"
    if failure is None:
        return f"{ends}: not probed yet"
    return f"{ends} at {failure.address}:{failure.port}: {failure.reason or 'not reached'}"
