"""When what is held is expected to end, and so when a host could hold more. All times are served seconds.

An end is known from the job's ``max_duration``; without one it is estimated, and only a guide.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from statistics import median

from coordinator.core import fit
from coordinator.core.book import FREE, Expected
from coordinator.core.model import Allocation, Host, Job, NodeState, Phase
from coordinator.core.spec import JobSpec
from coordinator.core.state import State
from coordinator.core.usage import Usage

# Seconds between the stop signal and the kill when the user asked for no other.
DEFAULT_STOP_GRACE = 10.0
# What has just begun, and of which nothing is known, is thought to take so many seconds more.
AT_LEAST = 10.0
# So many of a job's own ended nodes are looked at for how long the others will take.
SAMPLE = 101


def longest(spec: JobSpec) -> float | None:
    """Seconds after which a node of the job is gone for certain, its grace included; None: it may stay for ever."""
    if spec.max_duration is None:
        return None
    return spec.max_duration + (DEFAULT_STOP_GRACE if spec.stop_duration is None else spec.stop_duration)


def end_of(state: State, allocation: Allocation, now: float) -> Expected:
    """When what the allocation holds is expected to be free."""
    if allocation.wanted is Phase.STOPPING:
        wait = state.timing.lost if allocation.observed is Phase.ENDED else allocation.stop_grace
        return Expected(now + max(wait, 1.0), True)
    job = state.jobs[allocation.job_id]
    seconds = longest(job.spec)
    if seconds is not None:
        end = allocation.held_since + seconds
        # What outlives its max_duration is about to be killed.
        return Expected(end) if end >= now else Expected(now + 1.0, True)
    done = state.counts[job.id][NodeState.DONE]
    typical = state.book.typical(job.id, done, lambda: _took(state, job))
    if typical is not None and allocation.held_since + typical > now:
        return Expected(allocation.held_since + typical, True)
    # As long again as it has taken so far.
    return Expected(now + max(now - allocation.held_since, AT_LEAST), True)


def _took(state: State, job: Job) -> float | None:
    """The median of how long the job's nodes that are done took."""
    done = (n for n in state.nodes[job.id].values() if n.state is NodeState.DONE and n.ended_at >= n.started_at > 0.0)
    took = [node.ended_at - node.started_at for node in islice(done, SAMPLE)]
    return median(took) if took else None


def free_at(state: State, host: Host, need: fit.Need, now: float, matches: dict[int, fit.Match]) -> Expected | None:
    """When the host could hold such a node; ``FREE``: now. None: never, or it takes no work as things are.

    ``matches`` keeps how hardware of each shape answers the need, for the next host.
    """
    hardware = host.hardware
    if hardware is None or fit.unusable(host) or fit.refuses(host, need):
        return None
    shape = state.planning.shape_of(host.id, hardware)
    found = matches.get(shape)
    if found is None:
        found = matches[shape] = fit.match(hardware, need)
    if found.never is not None:
        return None
    if fit.has_room(hardware, state.usage[host.id], need, found):
        return FREE
    ends = [(end_of(state, a, now), a) for a in holders(state, host)]
    ends.sort(key=lambda end: end[0].at)
    left = usage_of(a for _, a in ends)
    for end, allocation in ends:
        left.free(allocation)
        if fit.has_room(hardware, left, need, found):
            # Others than those whose ends are known may end before, but need not.
            sure = usage_of(a for each, a in ends if not each.known_by(end.at))
            return Expected(end.at, not fit.has_room(hardware, sure, need, found))
    return None


def holders(state: State, host: Host) -> list[Allocation]:
    """What holds something of the host: without what waits behind another one, which is short."""
    found = (state.allocations[key] for key in state.usage[host.id].allocations)
    return [allocation for allocation in found if allocation.behind is None]


def usage_of(allocations: Iterable[Allocation]) -> Usage:
    """What these would hold of their host."""
    usage = Usage()
    for allocation in allocations:
        usage.hold(allocation)
    return usage
