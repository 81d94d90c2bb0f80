"""``startup_order``: of a group that was formed some nodes start first; the others follow when those have announced
that they are ready, or after a while all the same."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.changes import AllocationUpdated, DeadlineSet, JobUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.model import Allocation, GangPhase, Job, JobState, NodeState, Phase
from coordinator.core.spares import is_spare
from coordinator.core.spec import JobSpec, StartupOrder
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.words import several

# Files that were written for dstack announce nothing: what waits for it is started all the same after so many seconds.
# A job that names the file below is waited for as long as it takes.
WAIT_SECONDS = 30.0
READY_FILE = "RALLYPOINT_READY_FILE"


def later_ranks(spec: JobSpec) -> range:
    """The ranks that wait for the others."""
    if spec.startup_order is StartupOrder.MASTER_FIRST:
        return range(1, spec.nodes)
    if spec.startup_order is StartupOrder.WORKERS_FIRST and spec.nodes > 1:
        return range(1)
    return range(0)


def start_deadline(job: Job) -> str:
    """The key of the deadline at which the other nodes are started without an announcement."""
    return f"order:{job.id}"


def begin(turn: Turn, job: Job) -> None:
    """Wait for those of a formed group that start first: it was formed just now, or the coordinator serves again."""
    go_on(turn, job)
    at = turn.at.mono + WAIT_SECONDS if _held_back(turn.state, job) and not _announces(job.spec) else None
    if at is not None or start_deadline(job) in turn.state.deadlines:
        turn.record(DeadlineSet(start_deadline(job), at))


def go_on(turn: Turn, job: Job) -> None:
    """Start those that start later, if the others are ready, or done."""
    held = _held_back(turn.state, job)
    if held and not _unready(turn.state, job):
        _start(turn, held)
        turn.record(DeadlineSet(start_deadline(job), None))


def on_deadline(turn: Turn, job: Job) -> None:
    """No announcement has come."""
    held = _held_back(turn.state, job)
    if not held or job.state is JobState.STOPPING:
        return
    names = _nodes(_unready(turn.state, job))
    reason = (
        f"{names} did not announce to be ready within {WAIT_SECONDS:g} s (touch ${READY_FILE}); "
        f"{_nodes([member.rank for member in held])} started all the same"
    )
    turn.record(JobUpdated(replace(job, reason=reason)))
    _start(turn, held)


def waiting(state: State, job: Job) -> str:
    """What the nodes that start later wait for; empty when none does."""
    held = _held_back(state, job)
    if not held:
        return ""
    names = _nodes(_unready(state, job))
    line = f"{_nodes([m.rank for m in held])} start when {names} announced to be ready (touch ${READY_FILE})"
    return line if _announces(job.spec) else f"{line}, after {WAIT_SECONDS:g} s in any case"


def _announces(spec: JobSpec) -> bool:
    """Whether what the job runs names the file: then it will announce that it is ready, however long it takes."""
    texts = [*spec.commands, *spec.argv, *spec.env.values()]
    for group in spec.groups:
        texts += [*group.commands, *group.env.values()]
    for variant in spec.variants:
        texts += [*variant.commands, *variant.argv, *variant.env.values()]
    return any(READY_FILE in text for text in texts)


def is_in_order(spec: JobSpec, waits: set[int], live: set[int]) -> bool:
    """Whether just these ranks of those that are ``live`` may wait while the others run."""
    return not waits or waits == live.intersection(later_ranks(spec))


def _held_back(state: State, job: Job) -> list[Allocation]:
    """Members of a formed group that were not told to start, in rank order."""
    gang = state.gangs.get(job.id)
    if gang is None or gang.phase is not GangPhase.RUNNING:
        return []
    held = (state.allocations[a] for a in state.job_allocations[job.id])
    found = (a for a in held if a.wanted is Phase.PREPARED and not is_spare(job.spec, a))
    return sorted(found, key=lambda a: a.rank)


def _unready(state: State, job: Job) -> list[int]:
    """The ranks that start first and are neither ready nor done."""
    later = later_ranks(job.spec)
    ready = {state.allocations[a].rank for a in state.job_allocations[job.id] if state.allocations[a].ready}
    nodes = state.nodes[job.id]
    first = (rank for rank in range(job.spec.nodes) if rank not in later)
    return [rank for rank in first if rank not in ready and nodes[rank].state is not NodeState.DONE]


def _start(turn: Turn, members: list[Allocation]) -> None:
    for member in members:
        turn.record(AllocationUpdated(replace(member, wanted=Phase.RUNNING)))
        turn.effect(DesiredChanged(member.host_id, member.id))


def _nodes(ranks: list[int]) -> str:
    """``node 0``, ``nodes 1 to 3``, ``nodes 1, 4``."""
    if len(ranks) == 1:
        return f"node {ranks[0]}"
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"nodes {ranks[0]} to {ranks[-1]}"
    return f"nodes {several([str(rank) for rank in ranks], 5)}"
