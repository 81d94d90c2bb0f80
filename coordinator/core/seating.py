"""Who takes which place, where not all can take each: an assignment that is found whenever there is one."""

from __future__ import annotations

from collections.abc import Sequence


def seat(able: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[int | None] | None:
    """For each host the part that it takes (None: none), so that every part has as many as its size; None when that
    can't be.

    ``able`` says for each host, best first, the parts that it could take. A host is passed over only if those before it
    leave no place for it, however they are moved: so those that are taken are the best that there are.
    """
    seating = _Seating(able, sizes)
    left = sum(sizes)
    for host in range(len(able)):
        if not left:
            break
        left -= seating.add(host)
    return None if left else seating.part_of


class _Seating:
    def __init__(self, able: Sequence[Sequence[int]], sizes: Sequence[int]) -> None:
        self.able, self.sizes = able, sizes
        self.part_of: list[int | None] = [None] * len(able)
        self.taken: list[set[int]] = [set() for _ in sizes]
        # Full, and nobody in them can be moved so that a place gets free: that stays so.
        self.closed: set[int] = set()
        spare = [sum(part in parts for parts in able) - size for part, size in enumerate(sizes)]
        # The part for which there are fewest comes first: others can still take the places that are left.
        self.order = sorted(range(len(sizes)), key=lambda part: (spare[part], part))

    def add(self, host: int) -> bool:
        """Give the host a place, moving others if need be; whether there was one."""
        parts = [part for part in self.order if part in self.able[host] and part not in self.closed]
        free = next((part for part in parts if len(self.taken[part]) < self.sizes[part]), None)
        if free is not None:
            self._put(host, free)
            return True
        # From each part that may be reached: from which one, and by moving whom.
        came: dict[int, tuple[int, int] | None] = dict.fromkeys(parts)
        for part in parts:  # grows
            for other in sorted(self.taken[part]):
                for to in self.able[other]:
                    if to not in came and to not in self.closed:
                        came[to] = (part, other)
                        parts.append(to)
                        if len(self.taken[to]) < self.sizes[to]:
                            self._shift(host, to, came)
                            return True
        self.closed.update(parts)
        return False

    def _shift(self, host: int, free: int, came: dict[int, tuple[int, int] | None]) -> None:
        part = free
        while (step := came[part]) is not None:
            before, moved = step
            self._put(moved, part)
            part = before
        self._put(host, part)

    def _put(self, host: int, part: int) -> None:
        old = self.part_of[host]
        if old is not None:
            self.taken[old].discard(host)
        self.part_of[host] = part
        self.taken[part].add(host)
