"""Jobs whose GPUs do nothing: where a user says so, one that keeps GPUs idle for too long is ended.

Hosts report what their GPUs do every few seconds. A reading that is missing says nothing: the time begins anew after
it, as it does when the coordinator starts.
"""

from __future__ import annotations

from coordinator.core.changes import GpusIdle, Idle
from coordinator.core.limits import end_job
from coordinator.core.model import Allocation, Host, JobState, Phase
from coordinator.core.spec import UtilizationPolicy
from coordinator.core.turn import Turn
from coordinator.core.words import format_duration

# Of a job that is ended for its idle GPUs; as timeout(1) has one for time.
EXIT_IDLE = 122
# Readings further apart, in seconds, say nothing of the time between them.
LONGEST_GAP = 60.0


def on_readings(turn: Turn, host: Host) -> None:
    """The host told what its GPUs do: end the jobs that kept theirs idle for as long as their policy says."""
    state = turn.state
    for allocation_id in sorted(state.usage[host.id].allocations):
        held = state.allocations.get(allocation_id)
        policy = state.jobs[held.job_id].spec.utilization if held is not None else None
        if held is not None and policy is not None:
            _look(turn, host, held, policy)


def _look(turn: Turn, host: Host, held: Allocation, policy: UtilizationPolicy) -> None:
    state, known = turn.state, turn.state.idle.get(held.id)
    busiest = _busiest(host, held)
    runs = held.observed is Phase.RUNNING and held.wanted is Phase.RUNNING
    if not runs or busiest is None or busiest >= policy.min_gpu_percent:
        if known is not None:
            turn.record(GpusIdle(held.id, None))
        return
    now = turn.at.mono
    if known is None or now - known.until > LONGEST_GAP:
        known = Idle(now, now, busiest)
    idle = Idle(known.since, now, max(known.peak, busiest))
    turn.record(GpusIdle(held.id, idle))
    job = state.jobs[held.job_id]
    if now - idle.since >= policy.window and job.state is not JobState.STOPPING:
        end_job(turn, job, _reason(host, held, policy, idle), EXIT_IDLE)


def _busiest(host: Host, held: Allocation) -> float | None:
    """What the busiest of the allocation's GPUs does, in percent; None when that is not known of all of them."""
    gpus = host.hardware.gpus if host.hardware is not None else ()
    readings = [gpu.utilization_percent for gpu in gpus if gpu.uuid in held.gpus]
    known = [reading for reading in readings if reading is not None]
    return max(known) if known and len(known) == len(held.gpus) else None


def _reason(host: Host, held: Allocation, policy: UtilizationPolicy, idle: Idle) -> str:
    gpus = "its GPU was" if len(held.gpus) == 1 else f"all its {len(held.gpus)} GPUs were"
    return (
        f"utilization_policy: node {held.rank} on {host.name}: {gpus} below {policy.min_gpu_percent:g}% for"
        f" {format_duration(idle.until - idle.since)}, at most at {idle.peak:g}%"
    )
