"""Networks are seen, not believed: which hosts may form a group, judged by what probes showed.

A host's stated network narrows it (hosts of two different stated networks are never grouped) and is checked; a host
that states none is grouped by probes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coordinator.core.ids import HostId
from coordinator.core.model import Host, HostState
from coordinator.core.state import State

# Greedy search for a set of mutual neighbours is tried from so many seeds: networks are near-complete in practice,
# so that the first seed is almost always enough, and the bound keeps a turn short when they are not.
MAX_SEEDS = 32


@dataclass(frozen=True, slots=True)
class Network:
    """Hosts that all reach each other, best first."""

    name: str
    members: tuple[HostId, ...]


def common_address(state: State, target: HostId, members: Iterable[HostId]) -> str | None:
    """The best address of ``target`` at which all the other members reached it; None when there is none."""
    candidates = state.hosts[target].peer.addresses
    shared: set[str] | None = None
    for source in members:
        if source != target:
            seen = state.reach.addresses(source, target)
            shared = set(seen) if shared is None else shared & seen
    if shared is None:  # alone
        return candidates[0] if candidates else "127.0.0.1"
    return next((address for address in candidates if address in shared), None)


def find_group(
    state: State, candidates: Sequence[Host], size: int, keep: frozenset[HostId] = frozenset()
) -> tuple[HostId, ...] | None:
    """The first ``size`` of ``candidates`` (best first, those to ``keep`` before all others) that can form a group,
    with as many of ``keep`` in it as possible; None when no set was found."""
    if size == 1:
        return (candidates[0].id,) if candidates else None
    best: tuple[HostId, ...] | None = None
    order = {host.id: place for place, host in enumerate(candidates)}

    def rank(group: tuple[HostId, ...]) -> tuple[int, list[int]]:
        return (-len(keep.intersection(group)), sorted(order[host] for host in group))

    for pool in _pools(candidates):
        found = _grow(state, pool, size)
        others = _alternatives(state, pool, size, keep) if keep and not keep.issubset(found) else []
        for group in (found, *others):
            if len(group) == size and (best is None or rank(group) < rank(best)):
                best = group
    return best


def _alternatives(
    state: State, pool: Sequence[Host], size: int, keep: frozenset[HostId]
) -> Iterator[tuple[HostId, ...]]:
    """What grows from each host, where the first one did not lead to a group with all of ``keep``."""
    for seed in pool[: max(MAX_SEEDS, len(keep))]:
        others = [host for host in pool if host.id != seed.id]
        yield _grow(state, [seed, *others], size, seeds=1)


def joins(state: State, host: Host, members: Sequence[HostId]) -> bool:
    """Whether the host is in one network with all of these: probed both ways, and no stated network denies it."""
    named = {state.hosts[member].facts.network for member in members} | {host.facts.network}
    return len(named - {None}) <= 1 and state.reach.neighbours(host.id).issuperset(members)


def largest_group(state: State, candidates: Sequence[Host]) -> tuple[HostId, ...]:
    """The largest set of mutual neighbours that was found among ``candidates``."""
    groups = [_grow(state, pool, len(pool)) for pool in _pools(candidates)]
    return max(groups, key=len, default=())


def group_around(state: State, host: Host, candidates: Sequence[Host]) -> tuple[HostId, ...]:
    """The largest set of mutual neighbours with ``host`` in it that was found among ``candidates``."""
    pools = [[h for h in pool if h.id != host.id] for pool in _pools(candidates) if host in pool]
    groups = [_grow(state, [host, *pool], len(pool) + 1, seeds=1) for pool in pools]
    return max(groups, key=len, default=(host.id,))


def networks(state: State) -> tuple[Network, ...]:
    """Every host with a peer endpoint, in disjoint networks: stated ones first, then what probes show."""
    left = [h for h in state.hosts.values() if h.peer.port and h.state in (HostState.ONLINE, HostState.SUSPECT)]
    found: list[Network] = []
    number = 0
    while left:
        group = largest_group(state, left)
        stated = sorted({name for h in group if (name := state.hosts[h].facts.network)})
        if not stated:
            number += 1
        found.append(Network(stated[0] if stated else f"net-{number}", group))
        left = [host for host in left if host.id not in set(group)]
    return tuple(found)


def stated_but_denied(state: State, host: Host) -> str:
    """What is wrong with a host's stated network; empty when probes agree or have not come back."""
    if host.facts.network is None:
        return ""
    peers = [h for h in state.hosts.values() if h.facts.network == host.facts.network and h.id != host.id]
    missing = [
        peer.name
        for peer in peers
        if state.reach.probed(host.id, peer.id)
        and state.reach.probed(peer.id, host.id)
        and peer.id not in state.reach.neighbours(host.id)
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


def _pools(candidates: Sequence[Host]) -> list[list[Host]]:
    stated = sorted({h.facts.network for h in candidates if h.facts.network})
    pools = [[h for h in candidates if h.facts.network in (name, None)] for name in stated]
    pools.append([h for h in candidates if h.facts.network is None])
    return [pool for pool in pools if pool]


def _grow(state: State, pool: Sequence[Host], size: int, seeds: int = MAX_SEEDS) -> tuple[HostId, ...]:
    close = _grow_close(state, pool, size, seeds)
    return close if len(close) == size else max(close, _grow_by_address(state, pool, size, seeds), key=len)


def _grow_close(state: State, pool: Sequence[Host], size: int, seeds: int) -> tuple[HostId, ...]:
    """Of hosts that reach each other at their best addresses, which is what almost all networks are."""
    best: list[HostId] = []
    for seed in pool[:seeds]:
        members = [seed.id]
        shared = set(state.reach.close(seed.id))
        for host in pool:
            if len(members) == size:
                break
            if host.id in shared:
                members.append(host.id)
                shared &= state.reach.close(host.id)
        best = max(best, members, key=len)
        if len(best) == size:
            break
    return tuple(best)


def _grow_by_address(state: State, pool: Sequence[Host], size: int, seeds: int) -> tuple[HostId, ...]:
    """The same when some members can't be reached at their best address: any common one will do."""
    best: tuple[HostId, ...] = ()
    for seed in pool[:seeds]:
        usable: dict[HostId, frozenset[str] | None] = {seed.id: None}
        shared = set(state.reach.neighbours(seed.id))
        for host in pool:
            if len(usable) == size:
                break
            if host.id in shared and (admitted := _admit(state, usable, host.id)) is not None:
                usable = admitted
                shared &= state.reach.neighbours(host.id)
        if len(usable) > len(best):
            best = tuple(usable)
        if len(best) == size:
            break
    return best


def _admit(
    state: State, usable: dict[HostId, frozenset[str] | None], newcomer: HostId
) -> dict[HostId, frozenset[str] | None] | None:
    """The addresses left for each member (None: any) once ``newcomer`` is one; None when one is left without."""
    admitted: dict[HostId, frozenset[str] | None] = {}
    own: frozenset[str] | None = None
    for member, addresses in usable.items():
        inwards = state.reach.addresses(newcomer, member)
        outwards = state.reach.addresses(member, newcomer)
        left = inwards if addresses is None else addresses & inwards
        own = outwards if own is None else own & outwards
        if not left or not own:
            return None
        admitted[member] = left
    admitted[newcomer] = own
    return admitted
