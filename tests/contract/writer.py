"""A process that commits until it is killed, and prints the number of each commit once it is acknowledged."""

from __future__ import annotations

import sys
from pathlib import Path

from coordinator.core.changes import AllocationReserved, NodeUpdated
from coordinator.core.ids import HostId, JobId, allocation_id
from coordinator.core.model import Allocation, Node, NodeState, Phase
from coordinator.store.sql import SqlStore
from tests.contract.places import leading

JOB = JobId("j-1")
RANKS = range(40)


def main(place: str, attempt: int) -> None:
    """Each commit moves all nodes to its attempt and reserves one allocation named after it."""
    store = SqlStore(Path(), leading(place)) if "://" in place else SqlStore(Path(place))
    while True:
        held = Allocation(
            allocation_id(JOB, 0, attempt), JOB, 0, attempt, HostId("h-1"), 1, 1, (), wanted=Phase.RUNNING
        )
        nodes = [NodeUpdated(Node(JOB, rank, NodeState.PLACED, attempt)) for rank in RANKS]
        store.commit([*nodes, AllocationReserved(held)])
        print(attempt, flush=True)
        attempt += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
