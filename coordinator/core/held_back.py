"""Why a job waits though hosts have room for it: they are kept for who comes before it."""

from __future__ import annotations

from coordinator.core import fit, needs
from coordinator.core.book import Reservation
from coordinator.core.ids import HostId, JobId
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.state import State
from coordinator.core.words import format_duration, several


def kept_from(state: State, spec: JobSpec, job: JobId | None = None) -> dict[HostId, Reservation]:
    """The hosts that are kept for others of no lower priority; ``job`` is None for what was not submitted."""
    return {
        host: found
        for found in state.book.reservations.values()
        if found.job_id != job and state.jobs[found.job_id].spec.priority >= spec.priority
        for host in found.hosts
    }


def because(state: State, found: Reservation) -> str:
    """For whom a host is kept, and until when."""
    head = state.jobs[found.job_id]
    later = " or later" if found.start.estimated else ""
    start = format_duration(max(0.0, found.start.at - state.book.at))
    return f"kept for job {head.name} ({head.id}, priority {head.spec.priority}), expected to start in {start}{later}"


def waiting(state: State, spec: JobSpec, job: JobId | None = None) -> str:
    """That hosts with room are kept for others, and what may use them all the same; empty when enough are not."""
    kept = kept_from(state, spec, job)
    able = [host for host in kept if _has_room(state, host, spec)]
    nodes = spec.nodes if spec.placement is Placement.CLUSTER else 1
    if not able or sum(_has_room(state, host, spec) for host in state.hosts if host not in kept) >= nodes:
        return ""
    names = several([state.hosts[host].name for host in able], 4)
    return (
        f"waits though {names} would have room now, {because(state, kept[able[0]])}; "
        "what certainly ends before that, by max_duration and stop_duration, may go first"
    )


def _has_room(state: State, host_id: HostId, spec: JobSpec) -> bool:
    host, usage = state.hosts[host_id], state.usage[host_id]
    if fit.unusable(host) is not None:
        return False
    return any(fit.never(host, n) is None and fit.not_now(host, usage, n) is None for n in needs.all_needs(spec))
