"""The one table of transitions. ``state.apply`` checks every change against it; nothing else changes a state."""

from __future__ import annotations

from coordinator.core.health_records import Health
from coordinator.core.model import GangPhase, JobState, NodeState, Phase

JOB: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.STARTING, JobState.STOPPING, JobState.DONE, JobState.FAILED, JobState.STOPPED}
    ),
    JobState.STARTING: frozenset(
        {JobState.QUEUED, JobState.RUNNING, JobState.STOPPING, JobState.DONE, JobState.FAILED, JobState.STOPPED}
    ),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.STOPPING, JobState.DONE, JobState.FAILED, JobState.STOPPED}),
    JobState.STOPPING: frozenset({JobState.STOPPED, JobState.DONE, JobState.FAILED}),
    # Only when a user has it tried again.
    JobState.DONE: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.STOPPED: frozenset({JobState.QUEUED}),
}

# A node that is tried again goes back to PENDING, and only from a state in which its last attempt is over.
NODE: dict[NodeState, frozenset[NodeState]] = {
    NodeState.PENDING: frozenset({NodeState.PLACED, NodeState.FAILED, NodeState.STOPPED}),
    NodeState.PLACED: frozenset(
        {
            NodeState.RUNNING,
            NodeState.STOPPING,
            NodeState.DONE,
            NodeState.FAILED,
            NodeState.STOPPED,
            NodeState.PENDING,
        }
    ),
    # PLACED: the copy that ran failed, and one that does not run yet leads the node.
    NodeState.RUNNING: frozenset(
        {NodeState.PLACED, NodeState.STOPPING, NodeState.DONE, NodeState.FAILED, NodeState.STOPPED, NodeState.PENDING}
    ),
    NodeState.STOPPING: frozenset({NodeState.DONE, NodeState.FAILED, NodeState.STOPPED, NodeState.PENDING}),
    # A gang that is tried again runs all its nodes again, whatever became of them; a user may have any tried again.
    NodeState.DONE: frozenset({NodeState.PENDING}),
    NodeState.FAILED: frozenset({NodeState.PENDING}),
    NodeState.STOPPED: frozenset({NodeState.PENDING}),
}

WANTED: dict[Phase, frozenset[Phase]] = {
    Phase.PREPARED: frozenset({Phase.RUNNING, Phase.STOPPING}),
    Phase.RUNNING: frozenset({Phase.STOPPING}),
    Phase.STOPPING: frozenset(),
}

GANG: dict[GangPhase, frozenset[GangPhase]] = {
    GangPhase.PREPARING: frozenset({GangPhase.RUNNING, GangPhase.STOPPING}),
    GangPhase.RUNNING: frozenset({GangPhase.STOPPING}),
    GangPhase.STOPPING: frozenset({GangPhase.REFORMING}),
    GangPhase.REFORMING: frozenset(),
}

# A GPU is fenced in DRAINING, and at once QUARANTINED when nothing holds it. UNKNOWN is never stored.
HEALTH: dict[Health, frozenset[Health]] = {
    Health.HEALTHY: frozenset({Health.SUSPECT, Health.DRAINING, Health.TESTING}),
    Health.SUSPECT: frozenset({Health.HEALTHY, Health.DRAINING, Health.TESTING}),
    Health.DRAINING: frozenset({Health.QUARANTINED, Health.HEALTHY}),
    Health.QUARANTINED: frozenset({Health.TESTING, Health.HEALTHY}),
    Health.TESTING: frozenset({Health.HEALTHY, Health.SUSPECT, Health.DRAINING, Health.QUARANTINED}),
}

# Observations only move forward: of two reports the greater one is the newer one, whatever order they come in.
OBSERVED_ORDER: dict[Phase, int] = {
    Phase.RESERVED: 0,
    Phase.PREPARING: 1,
    Phase.PREPARED: 2,
    Phase.RUNNING: 3,
    Phase.STOPPING: 4,
    Phase.ENDED: 5,
}


class Forbidden(AssertionError):
    """A change that the table of transitions does not allow: a bug in a decision, never a user's error."""


def check_job(old: JobState, new: JobState) -> None:
    """Raise Forbidden unless a job may go from ``old`` to ``new``."""
    if old is not new and new not in JOB[old]:
        raise Forbidden(f"job {old.value} -> {new.value}")


def check_node(old: NodeState, new: NodeState) -> None:
    """Raise Forbidden unless a node may go from ``old`` to ``new``."""
    if old is not new and new not in NODE[old]:
        raise Forbidden(f"node {old.value} -> {new.value}")


def check_gang(old: GangPhase, new: GangPhase) -> None:
    """Raise Forbidden unless a gang may go from ``old`` to ``new``."""
    if old is not new and new not in GANG[old]:
        raise Forbidden(f"gang {old.value} -> {new.value}")


def check_health(old: Health, new: Health) -> None:
    """Raise Forbidden unless a GPU's health may go from ``old`` to ``new``."""
    if old is not new and new not in HEALTH[old]:
        raise Forbidden(f"GPU {old.value} -> {new.value}")


def check_phases(old: tuple[Phase, Phase], new: tuple[Phase, Phase]) -> None:
    """Raise Forbidden unless an allocation's (wanted, observed) may go from ``old`` to ``new``."""
    if old[0] is not new[0] and new[0] not in WANTED[old[0]]:
        raise Forbidden(f"allocation wanted {old[0].value} -> {new[0].value}")
    if OBSERVED_ORDER[new[1]] < OBSERVED_ORDER[old[1]]:
        raise Forbidden(f"allocation observed {old[1].value} -> {new[1].value}")
