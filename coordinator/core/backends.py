"""Where the copies of a job with redundancy may go: at most one of a node in each backend. The plan, and the words."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from coordinator.core import fit, needs, placement, score
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


_Offer = tuple[score.Key, int, str]


def plan(state: State, spec: JobSpec, first: Mapping[str, int]) -> dict[str, int]:
    """Nodes a host (by id) with all their copies, when the first ones go where ``first`` says. Changes nothing."""
    chosen = dict(first)
    if spec.redundancy == 1:
        return chosen
    need, offers = needs.leading(spec).need, _offers(state, spec, first)
    by_id = {str(host.id): host for host in state.hosts.values()}
    nodes = [{by_id[host].facts.backend} for host, count in first.items() for _ in range(count)]
    for have in range(1, spec.redundancy):
        for taken in (node for node in nodes if len(node) == have):
            free = [backend for backend, heap in offers.items() if heap and backend not in taken]
            if not free:
                continue
            backend = min(free, key=lambda each: offers[each][0])
            _, room, host = heapq.heappop(offers[backend])
            taken.add(backend)
            chosen[host] = chosen.get(host, 0) + 1
            if room > 1:
                key = score.preference(by_id[host], state.usage[by_id[host].id], chosen[host] * need.cpus)
                heapq.heappush(offers[backend], (key, room - 1, host))
    return chosen


def _offers(state: State, spec: JobSpec, first: Mapping[str, int]) -> dict[str, list[_Offer]]:
    """What room there is beside the first copies: a heap of each backend's hosts, the best first."""
    need = needs.leading(spec).need
    offers: dict[str, list[_Offer]] = {}
    for host in placement.usable_hosts(state, need):
        held = first.get(host.id, 0)
        room = fit.room(host, state.usage[host.id], need, spec.nodes) - held
        if room > 0:
            key = score.preference(host, state.usage[host.id], held * need.cpus)
            heapq.heappush(offers.setdefault(host.facts.backend, []), (key, room, host.id))
    return offers
