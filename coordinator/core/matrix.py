"""The values that each node of an ``any`` job has: all combinations of a few axes, less some, plus some.

A million nodes cost a few ranges: the values of a rank are computed, never listed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from math import prod

_SHOWN, _SHOWN_LETTERS = 1000, 50_000


class MatrixSource(Enum):
    """Where the values come from; it decides the names of the variables that a node gets them in."""

    MATRIX = "matrix"
    ARRAY = "array"
    LINES = "lines"


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter: its ``values``, or (without any) the whole numbers from ``first`` to ``last`` by ``step``."""

    name: str
    values: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    step: int = 1

    def __len__(self) -> int:
        return len(self.values) or max(0, (self.last - self.first) // self.step + 1)

    def value(self, at: int) -> str:
        """The value at a place, from 0 on."""
        return self.values[at] if self.values else str(self.first + at * self.step)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Combinations are numbered in the order of nested loops, the last axis running fastest.

    ``excluded`` holds half-open ranges of their numbers, sorted and disjoint, that no node has; ``included`` are
    further nodes, after all others, with values of their own.
    """

    axes: tuple[Axis, ...]
    excluded: tuple[tuple[int, int], ...] = ()
    included: tuple[Mapping[str, str], ...] = ()
    source: MatrixSource = MatrixSource.MATRIX

    def combinations(self) -> int:
        """How many there are before any is left out."""
        return prod(len(axis) for axis in self.axes) if self.axes else 0

    def __len__(self) -> int:
        """How many nodes the job has."""
        return self.combinations() - sum(stop - start for start, stop in self.excluded) + len(self.included)

    def is_long(self) -> bool:
        """Whether its values are too many to go along wherever the job is shown: thousands of lines, say."""
        if sum(len(axis.values) for axis in self.axes) + len(self.excluded) + len(self.included) > _SHOWN:
            return True
        texts = [text for axis in self.axes for text in axis.values]
        texts += [text for entry in self.included for text in entry.values()]
        return sum(map(len, texts)) > _SHOWN_LETTERS

    def values(self, rank: int) -> dict[str, str]:
        """The parameters of a node by name. Raises IndexError beyond the last one."""
        kept = len(self) - len(self.included)
        if rank >= kept:
            return dict(self.included[rank - kept])
        number = self._number(rank)
        found = {}
        for axis in reversed(self.axes):
            number, at = divmod(number, len(axis))
            found[axis.name] = axis.value(at)
        return {axis.name: found[axis.name] for axis in self.axes}

    def _number(self, rank: int) -> int:
        """The number of the combination that a rank has: so many are left out before it."""
        gone = list(accumulate((stop - start for start, stop in self.excluded), initial=0))
        # Ranks from which on one more range lies before.
        from_rank = [start - gone[i] for i, (start, _) in enumerate(self.excluded)]
        return rank + gone[bisect_right(from_rank, rank)]
