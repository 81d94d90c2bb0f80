"""Sets of ranks as ranges: a million pending nodes cost a few bytes, not a million rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class RankSet:
    """A mutable set of ranks, kept as sorted, disjoint, half-open ranges."""

    __slots__ = ("_count", "_starts", "_stops")

    def __init__(self, start: int = 0, stop: int = 0) -> None:
        self._starts: list[int] = [start] if stop > start else []
        self._stops: list[int] = [stop] if stop > start else []
        self._count = max(0, stop - start)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, rank: int) -> bool:
        at = bisect_right(self._starts, rank) - 1
        return at >= 0 and rank < self._stops[at]

    def __iter__(self) -> Iterator[int]:
        for start, stop in zip(tuple(self._starts), tuple(self._stops), strict=True):
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RankSet) and self.ranges() == other.ranges()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"RankSet({self.ranges()!r})"

    def copy(self) -> RankSet:
        """Another set of the same ranks."""
        other = RankSet()
        other._starts, other._stops, other._count = self._starts.copy(), self._stops.copy(), self._count
        return other

    def ranges(self) -> list[tuple[int, int]]:
        """The half-open ranges, in order."""
        return list(zip(self._starts, self._stops, strict=True))

    def first(self) -> int | None:
        """The lowest rank, or None when empty."""
        return self._starts[0] if self._starts else None

    def discard(self, rank: int) -> None:
        """Take a rank out; harmless when it is not in."""
        at = bisect_right(self._starts, rank) - 1
        if at < 0 or rank >= self._stops[at]:
            return
        start, stop = self._starts[at], self._stops[at]
        self._count -= 1
        if rank == start and rank == stop - 1:
            del self._starts[at], self._stops[at]
        elif rank == start:
            self._starts[at] = rank + 1
        elif rank == stop - 1:
            self._stops[at] = rank
        else:
            self._starts.insert(at + 1, rank + 1)
            self._stops.insert(at, rank)

    def add(self, rank: int) -> None:
        """Put a rank in; harmless when it is in already."""
        if rank in self:
            return
        self._count += 1
        at = bisect_right(self._starts, rank)
        joins_left = at > 0 and self._stops[at - 1] == rank
        joins_right = at < len(self._starts) and self._starts[at] == rank + 1
        if joins_left and joins_right:
            self._stops[at - 1] = self._stops[at]
            del self._starts[at], self._stops[at]
        elif joins_left:
            self._stops[at - 1] = rank + 1
        elif joins_right:
            self._starts[at] = rank
        else:
            self._starts.insert(at, rank)
            self._stops.insert(at, rank + 1)
