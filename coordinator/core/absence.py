"""Hosts out of contact: how long their nodes are waited for, and the words for it.

A host stops what it runs once it has been out of contact for the lease, or for what the job's ``on_disconnect`` says.
The coordinator gives the same attempt up only after that, with time for the stop and for two clocks to differ.
"""

from __future__ import annotations

from datetime import UTC, datetime

from coordinator.core.errors import Invalid
from coordinator.core.ids import AllocationId
from coordinator.core.model import Allocation, Host, HostState, Job, Phase
from coordinator.core.spec import DisconnectAction, JobSpec, Placement
from coordinator.core.state import State, Timing

# Over hours two clocks differ by more than any fixed margin: so much of the time that goes beyond the lease is added.
DRIFT = 0.001

_AWAY = (HostState.OFFLINE, HostState.LOST)


def check(timing: Timing, spec: JobSpec) -> None:
    """Raise Invalid when a job asks its hosts to give it up before their lease ends."""
    after = spec.on_disconnect.after
    if after is not None and after < timing.lease:
        raise Invalid(
            f"on_disconnect: after: {after:g}s is shorter than this cluster's lease of {timing.lease:g}s, before which "
            "no host gives its work up; choose a longer time, or leave 'after' out"
        )


def is_kept(spec: JobSpec) -> bool:
    """Whether the job's nodes go on while their host is away, and are never placed a second time."""
    return spec.on_disconnect.action is DisconnectAction.KEEP


def silence(timing: Timing, spec: JobSpec) -> float | None:
    """Seconds out of contact after which a host stops such a node; None: it never does."""
    rule = spec.on_disconnect
    if rule.after is None:
        return None if is_kept(spec) else timing.lease
    return max(timing.lease, rule.after)


def give_up_at(state: State, allocation: Allocation, since: float) -> float | None:
    """When an attempt on a host last heard of at ``since`` (monotonic seconds) is certainly gone; None: never."""
    timing = state.timing
    seconds = silence(timing, state.jobs[allocation.job_id].spec) if _may_run(state, allocation) else timing.lease
    if seconds is None:
        return None
    return since + timing.lost + (seconds - timing.lease) * (1.0 + DRIFT)


def _may_run(state: State, allocation: Allocation) -> bool:
    # A group's member that was never told to start has no process that could go on: hosts let go of it with the lease.
    if allocation.observed is Phase.ENDED:
        return False
    if state.jobs[allocation.job_id].spec.placement is Placement.ANY or allocation.address:
        return True
    return allocation.wanted is Phase.RUNNING or allocation.observed in (Phase.RUNNING, Phase.STOPPING)


def lost_reason(state: State, job: Job, host: Host) -> str:
    """Why an attempt on a host that is silent for too long is over."""
    seconds = silence(state.timing, job.spec)
    if is_kept(job.spec) and seconds is not None:
        return (
            f"host {host.name} lost: not heard of for over {seconds:g} s, for which the node was kept there "
            "(on_disconnect: keep, never placed twice)"
        )
    beyond = max(0.0, (seconds or 0.0) - state.timing.lease)
    return f"host {host.name} lost: not heard of for {state.timing.lost + beyond:g} s"


def waits_for(state: State, allocation: Allocation) -> str:
    """What becomes of an attempt whose host is away; empty when it is not away."""
    host = state.hosts.get(allocation.host_id)
    if host is None or host.state not in _AWAY:
        return ""
    if allocation.wanted is Phase.STOPPING:
        return f"waits for host {host.name}, which is away"
    since = datetime.fromtimestamp(host.last_seen_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    spec = state.jobs[allocation.job_id].spec
    seconds = silence(state.timing, spec)
    if is_kept(spec):
        return f"host {host.name} is away since {since}; kept{_for(seconds)} (on_disconnect: keep)"
    return f"host {host.name} is away since {since}; given up after {seconds:g} s"


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f" for {seconds:g} s"


def of_job(state: State, job: Job) -> str:
    """What a job waits for because of hosts that are away; empty when it waits for none."""
    waiting = [] if job.state.ended else sorted(_held_away(state, job))
    if not waiting:
        return ""
    more = f"; and {len(waiting) - 1} more nodes wait so" if len(waiting) > 1 else ""
    return waits_for(state, state.allocations[waiting[0]]) + more


def _held_away(state: State, job: Job) -> list[AllocationId]:
    away = {host for host in state.silent if state.hosts[host].state in _AWAY}
    mine = state.job_allocations[job.id]
    if not away or not mine:
        return []
    # By whichever is fewer: a job may have thousands of allocations, and so may the hosts that are away.
    if sum(len(state.usage[host].allocations) for host in away) < len(mine):
        return [a for host in away for a in state.usage[host].allocations if a in mine]
    return [a for a in mine if state.allocations[a].host_id in away]
