"""RankSet is a set: it behaves as Python's does, and a full one is one range."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.ranks import RankSet

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60)


@given(start=st.integers(0, 10), length=st.integers(0, 10), steps=STEPS)
def test_behaves_as_a_set(start: int, length: int, steps: list[tuple[bool, int]]) -> None:
    ranks, model = RankSet(start, start + length), set(range(start, start + length))
    for add, rank in steps:
        if add:
            ranks.add(rank)
            model.add(rank)
        else:
            ranks.discard(rank)
            model.discard(rank)
        assert list(ranks) == sorted(model)
        assert len(ranks) == len(model)
        assert ranks.first() == min(model, default=None)
        assert all((probe in ranks) == (probe in model) for probe in range(-1, 23))
        ends = ranks.ranges()
        assert all(a[1] < b[0] for a, b in pairwise(ends)), "ranges touch"


def test_a_million_ranks_are_one_range() -> None:
    assert RankSet(0, 1_000_000).ranges() == [(0, 1_000_000)]
