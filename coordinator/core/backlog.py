"""Work that a host has in hand: short nodes that begin right behind another one, without a word from here in between.

A node that runs for a few milliseconds is over sooner than its end is told and the next one ordered. So, while nothing
else waits for the room, a host is given a fifth of a second's worth of a job's next nodes, each *behind* another
allocation of the same job: it holds nothing until that one is freed, and then exactly what that one held. The host
begins it when that one has ended well, and gives it back when it did not, or not in time (docs/adr/0011-backlog.md).

Where other jobs of short nodes wait for the same room, each gets a few in a row whenever the planner gives it a turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from coordinator.core import fit
from coordinator.core.changes import AllocationReserved, AllocationUpdated, NodeUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import AllocationId, JobId, allocation_id
from coordinator.core.model import Allocation, EndCause, Host, Job, JobState, Node, NodeState, Phase
from coordinator.core.placement import HOLD
from coordinator.core.spec import Placement
from coordinator.core.state import State
from coordinator.core.turn import Turn

# So many seconds of work are in hand, of nodes that take at least and at most so long each, and never more nodes.
SECONDS = 0.2
SHARED_SECONDS = 0.05
SHORTEST = 0.005
LONGEST = 0.1
MOST = 40
# What has not begun after so many seconds is given back; an allocation that is held for so long gets nothing behind it.
PATIENCE = 1.0


def fill(turn: Turn) -> None:
    """Put pending nodes behind allocations that have too few behind them."""
    state = turn.state
    heads, state.chains.heads = state.chains.heads, {}
    if not state.chains.pace or HOLD in state.deadlines:
        return
    jobs = {state.allocations[head].job_id for head in heads if head in state.allocations}
    for job in [state.jobs[job_id] for job_id in sorted(jobs)]:
        if not _may_queue(state, job):
            continue
        ranks, short, others = _fresh_ranks(state, job), *_needs_of_others(state, job)
        for head in [state.allocations[a] for a in heads if a in state.allocations]:
            if head.job_id != job.id or not _may_lead(turn, head) or _is_room_for(turn, head, others):
                continue
            if not _is_room_for(turn, head, short):
                _put_behind(turn, job, head, ranks, SECONDS)
            elif heads[head.id]:
                # No more when that is used up: then it is for the planner to say whose turn it is.
                _put_behind(turn, job, head, ranks, SHARED_SECONDS)


def succeed(turn: Turn, freed: Allocation) -> None:
    """What waited behind an allocation that was just freed holds what that one held."""
    follower = turn.state.chains.following.get(freed.id)
    if follower is not None:
        now = turn.at.served if freed.behind is None else 0.0
        turn.record(AllocationUpdated(replace(turn.state.allocations[follower], behind=freed.behind, held_since=now)))


def give_back(turn: Turn, node: Node) -> None:
    """The host did not begin the node's attempt: that is nobody's failure, and it is placed anew."""
    stopping = turn.state.jobs[node.job_id].state is JobState.STOPPING
    outcome = NodeState.STOPPED if stopping or node.state is NodeState.STOPPING else NodeState.PENDING
    turn.record(NodeUpdated(replace(node, state=outcome, cause=EndCause.RETURNED)))


def _may_queue(state: State, job: Job) -> bool:
    """Whether the job's nodes are so short, and alike in what may be done with them, that some may be in hand."""
    spec = job.spec
    if not _is_short(state, job.id) or spec.placement is not Placement.ANY or spec.redundancy > 1:
        return False
    return bool(state.ready[job.id]) and spec.max_running is None and job.state is not JobState.STOPPING


def _may_lead(turn: Turn, head: Allocation) -> bool:
    """Whether more may wait behind an allocation."""
    host = turn.state.hosts[head.host_id]
    lasting = turn.at.served - head.held_since > PATIENCE
    if lasting or head.behind is not None or head.wanted is not Phase.RUNNING or not host.queues or host.vacate_at:
        return False
    return fit.unusable(host) is None and not _is_fenced(host, head.gpus)


def _is_fenced(host: Host, gpus: tuple[str, ...]) -> bool:
    return host.hardware is not None and any(gpu.fenced and gpu.uuid in gpus for gpu in host.hardware.gpus)


def _is_room_for(turn: Turn, head: Allocation, needs: list[fit.Need]) -> bool:
    """Whether the host could give room to any of these."""
    host = turn.state.hosts[head.host_id]
    return any(fit.never(host, need) is None for need in needs)


def _needs_of_others(state: State, job: Job) -> tuple[list[fit.Need], list[fit.Need]]:
    """What nodes of other jobs that wait ask for: of those that are short too, and of all others."""
    short: list[fit.Need] = []
    others: list[fit.Need] = []
    for line in state.queue.lines.values():
        if any(other != job.id for other in line.ids()):
            are_short = all(_is_short(state, other) for other in line.ids() if other != job.id)
            (short if are_short else others).extend(option.need for option in line.key.asks.options)
    return short, others


def _is_short(state: State, job_id: JobId) -> bool:
    """Whether the job's nodes were seen to take next to no time."""
    return state.chains.pace.get(job_id, LONGEST + 1.0) <= LONGEST


def _fresh_ranks(state: State, job: Job) -> Iterator[int]:
    """Pending ranks of which nothing special is known: where the others go is for the planner to choose."""
    nodes = state.nodes[job.id]
    for rank in state.ready[job.id]:
        node = nodes.get(rank)
        if node is None or not (node.errors or node.host_failures or node.failed_host_id):
            yield rank


def _put_behind(turn: Turn, job: Job, head: Allocation, ranks: Iterator[int], seconds: float) -> None:
    state, following = turn.state, turn.state.chains.following
    length, last = 0, head.id
    while last in following:
        length, last = length + 1, following[last]
    most = _most(state, job, seconds)
    if length > most // 2:
        return
    # Taken first: what is placed is no longer pending.
    for rank in [rank for rank, _ in zip(ranks, range(most - length), strict=False)]:
        last = _reserve(turn, job, rank, head, last)


def _most(state: State, job: Job, seconds: float) -> int:
    """How many, that take so many seconds, may wait behind one allocation: the last ones of a job are better spread."""
    heads = max(1, len(state.job_allocations[job.id]) - state.chains.queued.get(job.id, 0))
    enough = int(seconds / max(state.chains.pace[job.id], SHORTEST))
    return min(MOST, enough, len(state.ready[job.id]) // (2 * heads))


def _reserve(turn: Turn, job: Job, rank: int, head: Allocation, before: AllocationId) -> AllocationId:
    known = turn.state.nodes[job.id].get(rank)
    attempt = turn.state.next_attempt(known.last_attempt if known else 0)
    queued = Allocation(
        id=allocation_id(job.id, rank, attempt),
        job_id=job.id,
        rank=rank,
        attempt=attempt,
        host_id=head.host_id,
        cpus=head.cpus,
        memory_bytes=head.memory_bytes,
        gpus=head.gpus,
        wanted=Phase.RUNNING,
        variant=head.variant,
        share=head.share,
        price=head.price,
        behind=before,
    )
    turn.record(AllocationReserved(queued))
    node = Node(job.id, rank, NodeState.PLACED, attempt, head.host_id, gpus=head.gpus, variant=head.variant)
    turn.record(NodeUpdated(replace(node, retried_from=known.retried_from if known else 0)))
    turn.effect(DesiredChanged(head.host_id, queued.id))
    return queued.id
