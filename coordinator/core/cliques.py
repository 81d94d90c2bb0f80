"""Sets of mutual neighbours in a graph of bit rows (see ``reachability``). Pure arithmetic on slots, nothing of hosts.

The largest such set can't be found quickly in just any graph. Networks are near-complete, with gaps where links are
broken, and for those growing a set greedily from a few seeds, in order of preference, is almost always enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

# Growing is tried from at most so many seeds, and from fewer where each costs more: so many looks at a slot in all.
MAX_SEEDS = 32
MAX_LOOKS = 200_000
# Once a set is found, among hosts that are linked somehow, from so many more: few are in two networks.
MORE_SETS = 6

Rows = Sequence[int] | Mapping[int, int]


def mask_of(slots: Sequence[int]) -> int:
    """The bits of these slots."""
    row = bytearray((max(slots, default=0) >> 3) + 1)
    for slot in slots:
        row[slot >> 3] |= 1 << (slot & 7)
    return int.from_bytes(row, "little")


def core(order: Sequence[int], rows: Rows, size: int) -> list[int]:
    """Those of ``order`` that can be in a set of ``size``: with so many neighbours that can, too. Exact for what it
    drops, and it drops all of a network that is too small."""
    left, pool = list(order), mask_of(order)
    while len(left) >= size:
        kept = [slot for slot in left if (rows[slot] & pool).bit_count() >= size - 1]
        if len(kept) == len(left):
            return kept
        left, pool = kept, mask_of(kept)
    return []


def parts(order: Sequence[int], rows: Rows) -> list[list[int]]:
    """``order`` divided into parts between which there are no neighbours at all, each in the given order."""
    pool = mask_of(order)
    found: list[int] = []
    seen = 0
    for seed in order:
        if seen >> seed & 1:
            continue
        part = edge = 1 << seed
        while edge:
            reached = 0
            for slot in slots_of(edge):
                reached |= rows[slot]
            edge = reached & pool & ~part
            part |= edge
        found.append(part)
        seen |= part
    if len(found) < 2:
        return [list(order)]
    return [[slot for slot in order if part >> slot & 1] for part in found]


def slots_of(mask: int) -> Iterator[int]:
    """The slots of these bits, ascending."""
    for at, byte in enumerate(mask.to_bytes((mask.bit_length() + 7) >> 3, "little")):
        if byte:
            for place in range(8):
                if byte >> place & 1:
                    yield (at << 3) + place


def grow(order: Sequence[int], rows: Rows, size: int, seed: int) -> tuple[list[int], int]:
    """A set of at most ``size`` mutual neighbours with ``seed`` in it, the first of ``order`` that go with each other;
    and the bits of all others that would go with all of them."""
    members, shared = [seed], rows[seed] & mask_of(order)
    for slot in order:
        if len(members) == size or not shared:
            break
        if shared >> slot & 1:
            members.append(slot)
            shared &= rows[slot]
    return members, shared


def sets(order: Sequence[int], rows: Rows, size: int, most: int | None = None) -> Iterator[list[int]]:
    """Sets of ``size`` mutual neighbours (with ``most``: of as many more as go with them, up to that), about one for
    each network that was found, those of the first first."""
    kept = core(order, rows, size)
    if not kept:
        return
    for part in parts(kept, rows):
        yield from _sets_in(part, rows, size, size if most is None else most)


def _sets_in(part: Sequence[int], rows: Rows, size: int, most: int) -> Iterator[list[int]]:
    covered, tries = 0, max(4, min(MAX_SEEDS, MAX_LOOKS // (len(part) + 1)))
    failed = False
    for seed in part:
        if covered >> seed & 1:
            continue
        members, shared = grow(part, rows, most, seed)
        if len(members) >= size:
            yield members
            covered |= mask_of(members) | shared
            tries = min(tries, MORE_SETS)
        failed = failed or len(members) < size
        tries -= 1
        if not tries:
            break
    if failed and not covered:
        # Whoever lost the most links goes last.
        pool = mask_of(part)
        stable = sorted(part, key=lambda slot: -(rows[slot] & pool).bit_count())
        members, _ = grow(stable, rows, most, stable[0])
        if len(members) >= size:
            yield members


def largest(order: Sequence[int], rows: Rows, seed: int | None = None) -> list[int]:
    """The largest set of mutual neighbours that was found; with ``seed`` in it, if one is given."""
    best: list[int] = []
    tries = max(4, min(MAX_SEEDS, MAX_LOOKS // (len(order) + 1)))
    pool = mask_of(order)
    for start in order if seed is None else (seed,):
        if (rows[start] & pool).bit_count() < len(best):
            continue
        best = max(best, grow(order, rows, len(order) + 1, start)[0], key=len)
        tries -= 1
        if not tries or len(best) == len(order):
            break
    return best
