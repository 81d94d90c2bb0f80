"""Which hosts make a group: of all sets of hosts that reach each other the best one, and the order of its ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coordinator.core import cliques, links, network, seating
from coordinator.core.ids import HostId
from coordinator.core.model import Host
from coordinator.core.reachability import LATENCY_CLASSES, ReachMap
from coordinator.core.spec import Optimize
from coordinator.core.state import State

# Looks at a slot that the search for better links may take, in all.
SEARCH_LOOKS = 60_000
# So many speeds are told apart.
SPEEDS = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What makes one group better than another.

    ``keep`` are hosts to have in it before all others; ``tiers`` say of others which are rather not taken (0 where
    nothing is said); ``rates`` are their prices (USD an hour, for what a node would hold), ``far`` the seconds to what
    the job wants to be near to.
    """

    optimize: Optimize = Optimize.COST
    keep: frozenset[HostId] = frozenset()
    tiers: Mapping[HostId, int] = field(default_factory=dict)
    rates: Mapping[HostId, float] = field(default_factory=dict)
    far: Mapping[HostId, float] = field(default_factory=dict)


# The first candidates that go together, whatever their links.
IN_ORDER = Wish(Optimize.PACK)

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Seats:
    """A group of members that are not alike: so many of each part, and which parts each host could take."""

    sizes: tuple[int, ...]
    able: Mapping[HostId, Sequence[int]]

    def take(self, hosts: Sequence[HostId]) -> dict[HostId, int] | None:
        """Of ``hosts``, best first, those that are needed, and the part that each takes; None when they don't do."""
        placed = seating.seat([self.able[host] for host in hosts], self.sizes)
        if placed is None:
            return None
        return {host: part for host, part in zip(hosts, placed, strict=True) if part is not None}


class _Search:
    """One search among candidates, best first."""

    def __init__(
        self, state: State, candidates: Sequence[Host], size: int, wish: Wish, seats: Seats | None = None
    ) -> None:
        self.state, self.size, self.wish, self.seats = state, size, wish, seats
        self.order = {host.id: place for place, host in enumerate(candidates)}
        # Where members are not alike, more hosts than are needed are found first, and then those that fit each part.
        self.most = size if seats is None else len(candidates)
        self.best: list[HostId] | None = None
        self.key: Key = ()

    def offer(self, slots: Sequence[int]) -> bool:
        """Take a group that was found, if it is better than what there is; whether it is a group at all."""
        group = sorted((self.state.reach.at(slot) for slot in slots), key=self.order.__getitem__)
        if self.seats is not None:
            group = list(self.seats.take(group) or ())
        if len(group) != self.size:
            return False
        key = self.judge(group)
        if self.best is None or key < self.key:
            self.best, self.key = group, key
        return True

    def judge(self, group: Sequence[HostId]) -> Key:
        """Lower is better; the last part makes it total, so that a plan does not hang on the order of reports."""
        wish, order = self.wish, [self.order[host] for host in group]
        tiers = sorted(wish.tiers.get(host, 0) for host in group)
        price = round(sum(wish.rates.get(host, 0.0) for host in group), 6)
        link = links.badness(self.state, group)
        terms: Key = (price, link)
        if wish.optimize is Optimize.LATENCY:
            terms = (round(max(wish.far.get(host, 0.0) for host in group), 3), link, price)
        elif wish.optimize is Optimize.PACK:
            # The candidates' order is what packs.
            terms = (order, link)
        return (-len(wish.keep.intersection(group)), tiers, *terms, order)


def find_group(
    state: State, candidates: Sequence[Host], size: int, wish: Wish | None = None, seats: Seats | None = None
) -> tuple[HostId, ...] | None:
    """The best group of ``size`` that was found among ``candidates`` (best first, those to keep before all others), in
    their order; None when none was found. With ``seats`` its members can take all of them (see ``Seats.take``)."""
    if len(candidates) < size:
        return None
    if size == 1:
        return (candidates[0].id,)
    search = _Search(state, candidates, size, wish or Wish(), seats)
    for pool in network.pools(candidates):
        _search(search, network.slots(state, pool))
    return None if search.best is None else tuple(search.best)


def _search(search: _Search, order: list[int]) -> None:
    reach, size, found = search.state.reach, search.size, False
    for members in cliques.sets(order, reach.close, size, search.most):
        found = search.offer(members) or found
    if not found and search.seats is not None:
        # Those that can take the fewest parts first: whoever lost a link to one of them is left out instead.
        scarce = sorted(order, key=lambda slot: _choices(search, slot))
        for members in cliques.sets(scarce, reach.close, size, search.most):
            found = search.offer(members) or found
    if not found:
        left = cliques.core(order, reach.near, size)
        if left and not network.alike(search.state, left):
            search.offer(network.by_address(search.state, left, min(search.most, len(left))))
    if search.best is not None and not search.wish.keep.issubset(search.best):
        _keep_more(search, order)
    if found:
        _link_better(search, order)


def _choices(search: _Search, slot: int) -> int:
    assert search.seats is not None
    return len(search.seats.able[search.state.reach.at(slot)])


def _keep_more(search: _Search, order: list[int]) -> None:
    """What grows from each host, where the first one did not lead to a group with all of those to keep."""
    for seed in order[: max(cliques.MAX_SEEDS, len(search.wish.keep))]:
        members, _ = cliques.grow(order, search.state.reach.close, search.most, seed)
        search.offer(members)


def _link_better(search: _Search, order: list[int]) -> None:
    """Try again with hosts and links of the better kinds alone, the best first, until that yields a better group."""
    tries = max(4, SEARCH_LOOKS // (len(order) + 1))
    for slots, rows in _narrowed(search, order):
        if not tries:
            return
        tries -= 1
        before = search.key
        for members in cliques.sets(slots, rows, search.size, search.most):
            search.offer(members)
        if search.key != before:
            return


def _narrowed(search: _Search, order: list[int]) -> Iterator[tuple[list[int], cliques.Rows]]:
    state, reach = search.state, search.state.reach
    assert search.best is not None
    now, kept = links.badness(state, search.best), search.wish.keep.intersection(search.best)
    known = {slot: state.links[reach.at(slot)] for slot in order}
    for kind, slots in links.narrowed(known, SPEEDS):
        if len(slots) < search.size or (kind, 0) > now[:2]:
            continue
        if kept and not kept.issubset({reach.at(slot) for slot in slots}):
            continue
        inside = [slot for slot in slots if known[slot].nvlinks]
        for number in range(len(LATENCY_CLASSES) + 1):
            within = reach.within[number] if number < len(LATENCY_CLASSES) else None
            better = (kind, number) < now[:2]
            # At the same links between hosts those inside them decide.
            if len(slots) > len(inside) >= search.size and (better or ((kind, number) == now[:2] and not now[2])):
                yield inside, _rows(reach, inside, within)
            if better:
                yield slots, _rows(reach, slots, within)


def _rows(reach: ReachMap, slots: list[int], within: Sequence[int] | None) -> cliques.Rows:
    return reach.close if within is None else {slot: reach.close[slot] & within[slot] for slot in slots}


def in_line(state: State, group: Sequence[HostId]) -> tuple[HostId, ...]:
    """The members, the first one first, so that neighbours are close: after each the nearest of those that are left,
    and of several that are as near the first."""
    reach, rest = state.reach, list(group[1:])
    line, left = list(group[:1]), reach.mask(rest)
    while rest:
        slot = reach.slot(line[-1])
        near = next((near for rows in reach.within if slot is not None and (near := rows[slot] & left)), 0)
        at = next((at for at, host in enumerate(rest) if reach.bit(host) & near), 0)
        line.append(rest.pop(at))
        left &= ~reach.bit(line[-1])
    return tuple(line)
