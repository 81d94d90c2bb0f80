"""Which hosts have room soonest for what a job waits for, and so when it is expected to start."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from coordinator.core import fit, groups, held_back, max_running, needs, score
from coordinator.core.book import Expected
from coordinator.core.expected import free_at
from coordinator.core.ids import HostId
from coordinator.core.model import Job
from coordinator.core.spec import Placement
from coordinator.core.state import State

# For a reader's question so many hosts are looked at.
MAX_ASKED = 1000


def asked(job: Job) -> tuple[fit.Need, int]:
    """What the job waits for, and how many hosts with it: a node, or all of a group that are hardest to place."""
    part = needs.leading(job.spec)
    return part.need, 1 if job.spec.placement is Placement.ANY else part.count


def soonest(state: State, times: Mapping[HostId, Expected], nodes: int) -> tuple[tuple[HostId, ...], Expected] | None:
    """So many hosts that can form a group and have room soonest, and when the last of them has."""
    if len(times) < nodes:
        return None
    able = [state.hosts[host] for host in times]
    able.sort(key=lambda host: (times[host.id].at, score.price(host), host.id))
    group = groups.find_group(state, able, nodes, groups.IN_ORDER)
    if group is None:
        return None
    start = max(times[host].at for host in group)
    estimated = any(times[host].estimated for host in group)
    in_time = [h for h in able if times[h.id].at <= start and (estimated or not times[h.id].estimated)]
    if len(in_time) > nodes:
        # Those that are busy longest: others may use what is idle until then.
        group = groups.find_group(state, in_time[::-1], nodes, groups.IN_ORDER) or group
    return group, Expected(start, any(times[host].estimated for host in group))


def expected_start(state: State, job: Job) -> tuple[float, bool] | None:
    """In how many seconds the job's next nodes are expected to start, and whether that is a mere estimate.

    None: nobody knows, for no host, or no group of them, could hold it as things are, or it waits for its own nodes.
    """
    if max_running.reached(job, state.counts[job.id]):
        return None
    now, found = state.book.at, state.book.reservations.get(job.id)
    if found is not None and found.hosts:
        return max(0.0, found.start.at - now), found.start.estimated
    need, nodes = asked(job)
    matches: dict[int, fit.Match] = {}
    hosts = islice(state.hosts.values(), MAX_ASKED)
    looked = ((host.id, free_at(state, host, need, now, matches)) for host in hosts)
    kept = held_back.kept_from(state, job.spec, job.id)
    # When whoever comes first is done there nobody knows.
    after = {host: Expected(other.start.at, True) for host, other in kept.items()}
    times = {host: max(at, after.get(host, at)) for host, at in looked if at is not None}
    first = soonest(state, times, nodes)
    return None if first is None else (max(0.0, first[1].at - now), first[1].estimated)
