"""Where the copies of a job with redundancy may go: at most one of a node in each backend. The words for it."""

from __future__ import annotations

from coordinator.core import needs, placement
from coordinator.core.model import Job
from coordinator.core.spec import JobSpec
from coordinator.core.state import State


def few(state: State, spec: JobSpec) -> str:
    """That fewer backends than copies have a host that fits; empty when there are enough, or none at all."""
    if spec.redundancy == 1:
        return ""
    need = needs.leading(spec).need
    found = sorted({host.facts.backend for host in placement.usable_hosts(state, need)})
    if not found or len(found) >= spec.redundancy:
        return ""
    count = "1 backend" if len(found) == 1 else f"{len(found)} backends"
    fits = "fits" if len(found) == 1 else "fit"
    return f"{spec.redundancy} copies of each node asked, {count} {fits} ({', '.join(found)}): runs with {len(found)}"


def waiting(state: State, job: Job) -> str:
    """What the job's nodes that run with too few copies wait for; empty when none does."""
    short = len(state.short.get(job.id, ()))
    if job.state.ended or job.spec.redundancy == 1:
        return ""
    nodes = "1 node waits" if short == 1 else f"{short} nodes wait"
    return few(state, job.spec) or (f"{nodes} for room for another copy in a further backend" if short else "")
