"""Which nodes of a job a reader asks for, a page at a time: a job may have a million."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from coordinator.core.model import Node, NodeState

# So many nodes are in one answer, at most: a few hundred kilobytes.
PAGE = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeQuery:
    """Nodes in one of the ``states`` (empty: any), with ranks from ``first`` to before ``end``, whose rank or host has
    the ``text`` (lower case): ``limit`` of them after the first ``skip``. ``counted``: also how many there are."""

    states: frozenset[NodeState] = frozenset()
    first: int = 0
    end: int | None = None
    text: str = ""
    skip: int = 0
    limit: int = PAGE
    counted: bool = False

    def admits(self, node: Node, host_name: str) -> bool:
        """Whether the node is one of them, whatever its rank."""
        if self.states and node.state not in self.states:
            return False
        return not self.text or self.text in host_name.lower() or self.text == str(node.rank)


@dataclass(frozen=True, slots=True)
class NodePage(Generic[T]):
    """What was found, by rank; ``next_rank`` is where the next page begins, ``total`` counts all if that was asked."""

    nodes: tuple[T, ...]
    next_rank: int | None
    total: int


def choose(nodes: Mapping[int, T], query: NodeQuery, look: Callable[[T], tuple[Node, str]]) -> NodePage[T]:
    """The page of ``nodes`` (by rank) that is asked for. ``look`` gives a node's record and the name of its host."""
    found: list[T] = []
    total, next_rank = 0, None
    ranks = sorted(nodes)
    for at in range(bisect_left(ranks, query.first), len(ranks)):
        rank = ranks[at]
        if query.end is not None and rank >= query.end:
            break
        if not query.admits(*look(nodes[rank])):
            continue
        total += 1
        if total <= query.skip:
            continue
        if len(found) < query.limit:
            found.append(nodes[rank])
            continue
        next_rank = rank if next_rank is None else next_rank
        if not query.counted:
            break
    return NodePage(tuple(found), next_rank, total)
