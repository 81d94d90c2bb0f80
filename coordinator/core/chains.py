"""Which allocations wait behind which, and how long nodes take: what `backlog` goes by. Part of the state."""

from __future__ import annotations

from coordinator.core.ids import AllocationId, JobId
from coordinator.core.model import Allocation, EndCause, Node, NodeState

# What the newest node's time counts in that of its job; what is thought of one after a host gave a node of it back.
_NEW_SHARE = 0.2
_RETURNED_PACE = 1.0


class Chains:
    """``following``: what waits behind an allocation; ``queued``: how much of each job waits so.

    ``pace``: seconds that nodes of a job took of late. ``heads``: allocations that newly hold something, behind which
    there may be too few, and whether the planner placed them; else they took over what another one held.
    """

    __slots__ = ("following", "heads", "pace", "queued")

    def __init__(self) -> None:
        self.following: dict[AllocationId, AllocationId] = {}
        self.queued: dict[JobId, int] = {}
        self.pace: dict[JobId, float] = {}
        self.heads: dict[AllocationId, bool] = {}

    def put(self, allocation: Allocation) -> None:
        """It waits behind another one."""
        assert allocation.behind is not None
        self.following[allocation.behind] = allocation.id
        self.queued[allocation.job_id] = self.queued.get(allocation.job_id, 0) + 1

    def take(self, allocation: Allocation) -> None:
        """It waits no longer."""
        assert allocation.behind is not None
        self.following.pop(allocation.behind, None)
        self.queued[allocation.job_id] -= 1
        if not self.queued[allocation.job_id]:
            del self.queued[allocation.job_id]

    def time(self, node: Node) -> None:
        """How long a job's nodes take: what a host gave back was thought to be shorter than it is."""
        if node.state is NodeState.DONE and node.started_at:
            took = max(0.0, node.ended_at - node.started_at)
            known = self.pace.get(node.job_id, took)
            self.pace[node.job_id] = known + _NEW_SHARE * (took - known)
        elif node.cause is EndCause.RETURNED and node.state is NodeState.PENDING:
            self.pace[node.job_id] = _RETURNED_PACE
