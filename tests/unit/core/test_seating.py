"""Places that not everybody can take: held against trying out every assignment."""

from __future__ import annotations

from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.seating import seat

parts = st.lists(st.integers(0, 2), max_size=3, unique=True).map(sorted)


def possible(able: list[list[int]], seats: list[int]) -> bool:
    return any(all(part in parts for part, parts in zip(order, able, strict=True)) for order in permutations(seats))


@given(st.lists(parts, max_size=6), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_places_are_taken_whenever_they_can_be_and_by_the_first(able: list[list[int]], sizes: list[int]) -> None:
    seats = [part for part, size in enumerate(sizes) for _ in range(size)]
    sets = [
        hosts for hosts in combinations(range(len(able)), len(seats)) if possible([able[host] for host in hosts], seats)
    ]
    found = seat(able, sizes)
    if found is None:
        assert not sets
        return
    taken = {host: part for host, part in enumerate(found) if part is not None}
    assert sorted(taken.values()) == seats
    assert all(part in able[host] for host, part in taken.items())
    # In the order of combinations the first set is the one with the best hosts.
    assert tuple(taken) == sets[0]


def test_a_host_of_many_uses_gives_way_to_one_of_few() -> None:
    # The first could do anything, and is needed where the second and third can't be.
    assert seat([[0, 1, 2], [0], [0, 1]], [1, 1, 1]) == [2, 0, 1]
