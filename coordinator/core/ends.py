"""What follows when an attempt is over: the node's fate, its gang's, its job's. The class of the failure decides."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import backlog, copies, startup
from coordinator.core.changes import (
    AllocationFreed,
    DeadlineSet,
    GangUpdated,
    JobForgotten,
    JobUpdated,
    NodeUpdated,
    TryDelayed,
)
from coordinator.core.effects import DesiredChanged, OutputObsolete
from coordinator.core.events import AllocationStatus
from coordinator.core.model import Allocation, EndCause, Gang, GangPhase, Job, JobState, Node, NodeState
from coordinator.core.regroup import (
    HOST_FAULTS,
    avoiding,
    dissolve,
    is_kept,
    keep,
    live_members,
    reform_deadline,
)
from coordinator.core.retry import delay, event_of, may_retry_gang, may_retry_node
from coordinator.core.spares import is_spare, let_go, on_spare_end
from coordinator.core.spec import OnNodeFailure, Placement, RetryEvent, StopCriteria
from coordinator.core.state import State
from coordinator.core.stopping import lose_gang, stop_allocation, stop_of
from coordinator.core.turn import Turn

# Ended jobs that are kept for users to look at; the oldest go first.
KEPT_JOBS = 10_000
# As timeout(1) says it.
EXIT_MAX_DURATION = 124


def on_end(turn: Turn, allocation: Allocation, status: AllocationStatus, *, retry: bool = True) -> None:
    """An allocation's processes are gone for good: free it and see what that means.

    ``retry=False``: whatever the rules say, it is not tried again.
    """
    state = turn.state
    job = state.jobs[allocation.job_id]
    if job.spec.placement is Placement.CLUSTER:
        _end_in_gang(turn, job, allocation, status, retry)
        return
    status = _preempted(job, allocation, status)
    turn.record(AllocationFreed(allocation.id))
    backlog.succeed(turn, allocation)
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))
    node = state.nodes[job.id][allocation.rank]
    outcome = _outcome(job, status)
    if job.spec.redundancy > 1:
        if node.state.ended or (outcome is not NodeState.DONE and copies.held(state, job.id, node.rank)):
            _end_copy(turn, job, node, allocation, status, retry)
            return
        node = copies.led_by(node, allocation)
    elif node.attempt != allocation.attempt:
        return
    if status.cause is EndCause.RETURNED:
        backlog.give_back(turn, node)
        settle_job(turn, state.jobs[job.id])
        return
    # One that ended before it was ever reported running has its address from here.
    if allocation.address and allocation.address != node.address:
        node = replace(node, address=allocation.address)
    again = retry and may_retry_node(job.spec, node, status.cause, turn.at.served)
    if status.cause is EndCause.PREEMPTED:
        turn.record(JobUpdated(replace(job, preempted=job.preempted + 1)))
        job, outcome = turn.state.jobs[job.id], NodeState.PENDING
    elif outcome is NodeState.FAILED and again:
        outcome = NodeState.PENDING
    ended = _ended(node, status, outcome, turn.at.served)
    turn.record(NodeUpdated(ended))
    if outcome is NodeState.PENDING:
        _rest(turn, job, node.rank, delay(ended.errors, status.cause, allocation.id))
    elif outcome is NodeState.FAILED and _fails_its_job(job):
        _fail_job(turn, job, ended)
    for copy in copies.held(state, job.id, node.rank):
        host = state.hosts[allocation.host_id].name
        stop_allocation(turn, copy, stop_of(job, f"attempt {allocation.attempt} on {host} finished first"))
    _follow_master(turn, job, node, outcome)
    settle_job(turn, state.jobs[job.id])


def _preempted(job: Job, allocation: Allocation, status: AllocationStatus) -> AllocationStatus:
    """The end of what made place for another job, if that is what ended it, is nobody's failure."""
    if not allocation.preempted_by or status.cause is not EndCause.STOPPED or job.state is JobState.STOPPING:
        return status
    return replace(status, cause=EndCause.PREEMPTED, reason=allocation.stop_reason)


def _follow_master(turn: Turn, job: Job, node: Node, outcome: NodeState) -> None:
    if outcome is NodeState.DONE and node.rank == 0 and job.spec.stop_criteria is StopCriteria.MASTER_DONE:
        _stop_others(turn, turn.state.jobs[job.id])


def _end_copy(turn: Turn, job: Job, node: Node, allocation: Allocation, status: AllocationStatus, retry: bool) -> None:
    """A copy is gone that does not decide its node: another one won, or others live on. It is replaced by the rules."""
    if node.state.ended:
        settle_job(turn, job)
        return
    outcome, preempted = _outcome(job, status), status.cause is EndCause.PREEMPTED
    again = retry and outcome is NodeState.FAILED and may_retry_node(job.spec, node, status.cause, turn.at.served)
    left = replace(
        _budgeted(node, status, outcome, turn.at.served),
        copies_failed=node.copies_failed + (not again and not preempted),
        failed_host_id=node.failed_host_id if preempted else allocation.host_id,
        preempted=node.preempted + preempted,
        left_host_id=allocation.host_id if preempted else node.left_host_id,
    )
    left = copies.led_by(left, copies.lead(copies.held(turn.state, job.id, node.rank)))
    if left.state is not NodeState.STOPPING:
        host = turn.state.hosts[allocation.host_id].name
        left = replace(left, reason=f"attempt {allocation.attempt} on {host}: {describe(status)}")
    turn.record(NodeUpdated(left))
    if again:
        _rest(turn, job, node.rank, delay(left.errors, status.cause, allocation.id))


def settle_job(turn: Turn, job: Job) -> None:
    """End the job if nothing of it is left to run."""
    state = turn.state
    if job.state.ended or state.job_allocations[job.id] or job.id in state.gangs:
        return
    counts, nodes = state.counts[job.id], state.nodes[job.id]
    failed, ignored = counts[NodeState.FAILED], job.spec.on_node_failure is OnNodeFailure.IGNORE
    if ignored and failed and counts[NodeState.DONE] + failed == job.spec.nodes:
        finish_job(turn, job, JobState.DONE, f"{failed} of {job.spec.nodes} nodes failed, which is ignored", 0)
    elif counts[NodeState.DONE] == job.spec.nodes or (_by_master(job) and _is_done(nodes.get(0))):
        finish_job(turn, job, JobState.DONE, "", 0)
    elif job.state is JobState.STOPPING:
        # Stopped by a failed node (its code is set), or by a user.
        outcome = JobState.STOPPED if job.exit_code is None else JobState.FAILED
        finish_job(turn, job, outcome, job.reason, job.exit_code)
    elif failed and not state.pending[job.id]:
        # By the coordinator's own time: the clocks of hosts may be days apart.
        first = min((n for n in nodes.values() if n.state is NodeState.FAILED), key=lambda n: (n.failing_since, n.rank))
        reason = f"{failed} of {job.spec.nodes} nodes failed; first node {first.rank}: {first.reason}"
        finish_job(turn, job, JobState.FAILED, reason, _code(first.exit_code, first.cause))
    elif not state.pending[job.id]:
        finish_job(turn, job, JobState.STOPPED, job.reason or "its nodes were stopped", None)


def finish_job(turn: Turn, job: Job, outcome: JobState, reason: str, exit_code: int | None) -> None:
    """The job is over; the oldest ended jobs beyond the kept number are forgotten."""
    # A job may end before any node of it was reported running.
    began = (node.started_at for node in turn.state.nodes[job.id].values() if node.started_at)
    started_at = job.started_at or min(began, default=0.0)
    ended = replace(job, state=outcome, reason=reason, exit_code=exit_code, started_at=started_at)
    turn.record(JobUpdated(replace(ended, ended_at=turn.at.wall)))
    jobs = turn.state.jobs
    if len(jobs) > KEPT_JOBS:
        oldest = next((j for j in jobs.values() if _may_be_forgotten(turn.state, j)), None)
        if oldest is not None:
            turn.record(JobForgotten(oldest.id))
            turn.effect(OutputObsolete(oldest.id))


def _may_be_forgotten(state: State, job: Job) -> bool:
    # Not while others wait for it, or what follows from its end is still to be decided.
    return job.state.ended and job.id not in state.dependents and job.id not in state.to_follow


def _rest(turn: Turn, job: Job, rank: int | None, seconds: float) -> None:
    """Do not try again before so long."""
    if seconds:
        until = turn.at.mono + seconds
        turn.record(TryDelayed(job.id, rank, until))
        turn.record(DeadlineSet(rest_deadline(job, rank), until))


def rest_deadline(job: Job, rank: int | None) -> str:
    """The key of the deadline at which a failed node (or, for None, the gang) may be tried again."""
    return f"rest:{job.id}/{'' if rank is None else rank}"


def _fails_its_job(job: Job) -> bool:
    # A user's stop wins: what fails while it is carried out does not make it a failure.
    return job.spec.on_node_failure is OnNodeFailure.FAIL and job.state is not JobState.STOPPING


def _fail_job(turn: Turn, job: Job, node: Node) -> None:
    """One failed node is the end of the job: the others are stopped."""
    reason = f"node {node.rank} failed: {node.reason}"
    code = _code(node.exit_code, node.cause)
    turn.record(JobUpdated(replace(job, state=JobState.STOPPING, reason=reason, exit_code=code)))
    _stop_all(turn, job, reason)


def describe(status: AllocationStatus) -> str:
    """An end in words: the agent's reason, or the exit code."""
    if status.reason:
        return status.reason
    return "ended" if status.exit_code is None else f"exit code {status.exit_code}"


def _outcome(job: Job, status: AllocationStatus) -> NodeState:
    if status.cause in (EndCause.STOPPED, EndCause.PREEMPTED):
        return NodeState.STOPPED
    if job.state is JobState.STOPPING and status.cause is EndCause.HOST:
        return NodeState.STOPPED
    return NodeState.DONE if status.cause is EndCause.EXIT and status.exit_code == 0 else NodeState.FAILED


def _ended(node: Node, status: AllocationStatus, outcome: NodeState, now: float) -> Node:
    preempted = status.cause is EndCause.PREEMPTED
    return replace(
        _budgeted(node, status, outcome, now),
        state=outcome,
        exit_code=status.exit_code,
        cause=status.cause,
        reason="" if outcome is NodeState.DONE else describe(status),
        started_at=status.started_at or node.started_at,
        ended_at=status.ended_at,
        log_bytes=status.log_bytes,
        failed_host_id=None if outcome is NodeState.DONE or preempted else node.host_id,
        preempted=node.preempted + preempted,
        left_host_id=node.host_id if preempted else node.left_host_id,
    )


def _budgeted(node: Node, status: AllocationStatus, outcome: NodeState, now: float) -> Node:
    """The node with what its budgets go by."""
    if status.cause is EndCause.PREEMPTED or outcome is NodeState.DONE:
        return node
    return replace(
        node,
        host_failures=node.host_failures + (status.cause is EndCause.HOST),
        errors=node.errors + (event_of(status.cause) is RetryEvent.ERROR),
        failing_since=node.failing_since or now,
    )


def _end_in_gang(turn: Turn, job: Job, allocation: Allocation, status: AllocationStatus, retry: bool) -> None:
    if is_spare(job.spec, allocation):
        on_spare_end(turn, job, allocation)
    elif is_kept(job, allocation):
        if status.cause is EndCause.HOST:
            # Its host is lost while the gang is not yet formed again. What else is said of it are repeats.
            let_go(turn, allocation)
            turn.record(JobUpdated(avoiding(job, turn.state.gangs[job.id], allocation.host_id)))
    else:
        status = _preempted(job, allocation, status)
        node = turn.state.nodes[job.id][allocation.rank]
        node = replace(node, address=allocation.address or node.address)
        outcome = _outcome(job, status)
        turn.record(NodeUpdated(_ended(node, status, outcome, turn.at.served)))
        # First: a job whose master is done has no next generation, whatever else ended this one.
        if turn.state.gangs[job.id].phase is not GangPhase.PREPARING:
            _follow_master(turn, job, node, outcome)
        _end_member(turn, allocation, outcome, status, retry)
        startup.go_on(turn, turn.state.jobs[job.id])
        settle_job(turn, turn.state.jobs[job.id])


def _end_member(
    turn: Turn, allocation: Allocation, outcome: NodeState, status: AllocationStatus, may_retry: bool
) -> None:
    state = turn.state
    job, gang = state.jobs[allocation.job_id], state.gangs[allocation.job_id]
    # Before the group is formed nothing runs, and so nothing can be done: whatever ended then, ended the gang.
    failed = outcome is not NodeState.DONE or gang.phase is GangPhase.PREPARING
    began = gang.phase is not GangPhase.PREPARING
    loses = failed and gang.phase is not GangPhase.STOPPING and not (began and _master_is_done(turn, job))
    retry = gang.retry and gang.phase is GangPhase.STOPPING
    if loses:
        retry = may_retry and outcome is NodeState.FAILED and may_retry_gang(job, status.cause, turn.at.served)
    reason = f"node {allocation.rank} on {state.hosts[allocation.host_id].name}: {describe(status)}"
    faulty = status.cause in HOST_FAULTS
    if retry and not faulty and not allocation.preempted_by:
        keep(turn, allocation, reason)
    else:
        let_go(turn, allocation)
    if loses or (retry and faulty):
        job = avoiding(job, gang, *([allocation.host_id] if faulty else []))
        turn.record(JobUpdated(_counted(job, status, turn.at.served) if loses else job))
    if loses:
        if retry:
            _rest(turn, job, None, delay(state.jobs[job.id].errors, status.cause, job.id))
        lose_gang(turn, gang, reason, retry=retry, exit_code=_code(status.exit_code, status.cause))
    if not live_members(state, job):
        _close_gang(turn, state.jobs[job.id], state.gangs[job.id])


def _counted(job: Job, status: AllocationStatus, now: float) -> Job:
    return replace(
        job,
        host_failures=job.host_failures + (status.cause is EndCause.HOST),
        errors=job.errors + (event_of(status.cause) is RetryEvent.ERROR),
        failing_since=job.failing_since or now,
    )


def _close_gang(turn: Turn, job: Job, gang: Gang) -> None:
    """The last member is gone. The next generation, if there is one, is placed at the end of the turn."""
    if gang.phase is not GangPhase.STOPPING or job.state is JobState.STOPPING or not gang.retry:
        dissolve(turn, job)
        if gang.phase is GangPhase.STOPPING and job.state is not JobState.STOPPING:
            finish_job(turn, job, JobState.FAILED, gang.reason, gang.exit_code)
        return
    turn.record(GangUpdated(replace(gang, phase=GangPhase.REFORMING)))
    turn.record(DeadlineSet(reform_deadline(job), turn.at.mono + turn.state.timing.lost))
    for node in tuple(turn.state.nodes[job.id].values()):
        turn.record(NodeUpdated(replace(node, state=NodeState.PENDING)))
    turn.record(JobUpdated(replace(job, state=JobState.QUEUED, reason=gang.reason)))


def _stop_others(turn: Turn, job: Job) -> None:
    reason = "the master is done"
    if not job.state.ended and job.state is not JobState.STOPPING:
        # Nothing that still waits is to be placed either.
        turn.record(JobUpdated(replace(job, state=JobState.STOPPING, reason=reason)))
    _stop_all(turn, job, reason)


def _stop_all(turn: Turn, job: Job, reason: str) -> None:
    for allocation_id in sorted(turn.state.job_allocations[job.id]):
        stop_allocation(turn, turn.state.allocations[allocation_id], stop_of(job, reason))


def _by_master(job: Job) -> bool:
    return job.spec.stop_criteria is StopCriteria.MASTER_DONE


def _is_done(node: Node | None) -> bool:
    return node is not None and node.state is NodeState.DONE


def _master_is_done(turn: Turn, job: Job) -> bool:
    return _by_master(job) and _is_done(turn.state.nodes[job.id].get(0))


def _code(exit_code: int | None, cause: EndCause | None) -> int:
    if cause is EndCause.MAX_DURATION:
        return EXIT_MAX_DURATION
    return exit_code or 1
