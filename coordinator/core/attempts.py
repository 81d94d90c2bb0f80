"""Making an attempt: resources are held on a host, and the node's record says so."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import fit
from coordinator.core.changes import AllocationReserved, NodeUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.model import Host, Job, Node, NodeState, Phase
from coordinator.core.state import State
from coordinator.core.turn import Turn


def reserve(
    turn: Turn, job: Job, rank: int, host: Host, held: fit.Held, wanted: Phase, attempt: int, variant: str = ""
) -> None:
    """Hold what was picked on the host for an attempt of the node."""
    allocation = fit.allocation(job, rank, attempt, host, held, wanted, turn.at.served, variant)
    before = turn.state.nodes[job.id].get(rank)
    turn.record(AllocationReserved(allocation))
    turn.effect(DesiredChanged(host.id, allocation.id))
    if before is not None and before.state in (NodeState.PLACED, NodeState.RUNNING):
        # One more copy: another one leads the node.
        turn.record(NodeUpdated(replace(before, latest_attempt=attempt)))
        return
    turn.record(
        NodeUpdated(
            Node(
                job_id=job.id,
                rank=rank,
                state=NodeState.PLACED,
                attempt=attempt,
                host_id=host.id,
                gpus=held.gpus,
                reason=_again(turn.state, before) if before else "",
                host_failures=before.host_failures if before else 0,
                errors=before.errors if before else 0,
                failing_since=before.failing_since if before else 0.0,
                copies_failed=before.copies_failed if before else 0,
                failed_host_id=before.failed_host_id if before else None,
                retried_from=before.retried_from if before else 0,
                variant=variant,
                preempted=before.preempted if before else 0,
                left_host_id=before.left_host_id if before else None,
            )
        )
    )


def _again(state: State, before: Node) -> str:
    """Why a node is tried again, kept while it runs: nobody should have to guess where its output began anew."""
    host = state.hosts.get(before.host_id) if before.host_id is not None else None
    return f"attempt {before.attempt} on {host.name if host else before.host_id}: {before.reason}"
