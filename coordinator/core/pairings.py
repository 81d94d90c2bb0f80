"""Who measures with whom, in rounds in which nobody is in two measurements at once.

Up to ``ALL_PAIRS`` members every pair is measured: a tournament. Of more, the ring of neighbours by rank, along which
NCCL and gloo pass data, and then pairs 2, 4, 8, … ranks apart, as in a hypercube: a few rounds, whatever the size.
Each member is then measured with both neighbours at least. That is enough to tell a slow host from a slow link: of a
slow host all links are slow, while each neighbour has another one that is not.
"""

from __future__ import annotations

Pair = tuple[int, int]
Rounds = tuple[tuple[Pair, ...], ...]

ALL_PAIRS = 8


def rounds_of(members: int) -> Rounds:
    """The pairs of each round, the lower rank first; none for a single member."""
    return _tournament(members) if members <= ALL_PAIRS else (*_ring(members), *_hypercube(members))


def _tournament(members: int) -> Rounds:
    """The circle method: one stays, the others go around it; of an odd number one rests in each round."""
    circle = list(range(members + members % 2))
    rounds = []
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        pairs = zip(circle[:half], reversed(circle[half:]), strict=True)
        rounds.append(tuple(sorted(_ordered(a, b) for a, b in pairs if max(a, b) < members)))
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return tuple(round_ for round_ in rounds if round_)


def _ring(members: int) -> Rounds:
    edges = [_ordered(rank, (rank + 1) % members) for rank in range(members)]
    even = members - members % 2
    closing = [(edges[-1],)] if members % 2 else []
    return tuple(tuple(sorted(round_)) for round_ in (edges[:even:2], edges[1:even:2], *closing))


def _hypercube(members: int) -> Rounds:
    distances = (1 << power for power in range(1, members.bit_length()))
    closing = (0, members - 1)  # The ring has it.
    pairs = (((a, a ^ d) for a in range(members) if a < a ^ d < members) for d in distances)
    rounds = (tuple(pair for pair in round_ if pair != closing) for round_ in pairs)
    return tuple(round_ for round_ in rounds if round_)


def _ordered(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)
