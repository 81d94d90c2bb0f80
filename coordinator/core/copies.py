"""Redundancy: several attempts (*copies*) of one ``any`` node at once, in different backends; the first success wins.

A node's record is that of the copy that *leads* it: of those that live the oldest that runs, or else the oldest; in the
end the winner, or the last that failed. ``Node.last_attempt`` is that of the newest.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.ids import JobId
from coordinator.core.model import Allocation, Node, NodeState, Phase
from coordinator.core.state import State


def held(state: State, job_id: JobId, rank: int) -> list[Allocation]:
    """The copies of a node that hold something, oldest first; none for a job without redundancy."""
    found = (state.allocations[a] for a in state.copies.get((job_id, rank), ()))
    return sorted(found, key=lambda copy: copy.attempt)


def backends(state: State, job_id: JobId, rank: int) -> set[str]:
    """Where the node has a copy."""
    return {state.hosts[copy.host_id].facts.backend for copy in held(state, job_id, rank)}


def lead(copies: list[Allocation]) -> Allocation:
    """The copy that stands for the node; one that is being stopped only if all are."""
    return min(copies, key=lambda c: (c.wanted is Phase.STOPPING, c.observed is not Phase.RUNNING, c.attempt))


def state_of(copy: Allocation) -> NodeState:
    """How a copy stands, in the words for nodes."""
    if copy.wanted is Phase.STOPPING:
        return NodeState.STOPPING
    return NodeState.RUNNING if copy.observed is Phase.RUNNING else NodeState.PLACED


def led_by(node: Node, copy: Allocation) -> Node:
    """The node, with ``copy`` in the lead."""
    if node.attempt == copy.attempt:
        return node
    return replace(
        node,
        state=state_of(copy),
        attempt=copy.attempt,
        host_id=copy.host_id,
        exit_code=None,
        cause=None,
        gpus=copy.gpus,
        address=copy.address,
        started_at=copy.started_at,
        ended_at=0.0,
        log_bytes=0,
    )
