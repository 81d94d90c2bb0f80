"""Why a job is where it is: for every host the reason with the numbers, and one line on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.core import (
    absence,
    backends,
    fit,
    held_back,
    max_running,
    nearness,
    needs,
    network,
    placement,
    preempt,
    preflight,
    preparing,
    regroup,
    score,
    spares,
    startup,
    waits,
)
from coordinator.core.asks import Asks
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Host, Job, JobState
from coordinator.core.offers import Offers
from coordinator.core.pace import UNKNOWN
from coordinator.core.program import variant_of
from coordinator.core.spec import JobSpec, Placement, Variant
from coordinator.core.state import State
from coordinator.core.usage import Usage
from coordinator.core.words import several


@dataclass(frozen=True, slots=True)
class Offer:
    """What one host could give the nodes of a job. ``rejection`` is empty when it has room now."""

    host: Host
    nodes_now: int
    nodes_ever: int
    rejection: str
    chosen: int = 0
    # What a host that fits is compared by, and the variant that a node would run as there.
    terms: score.Terms | None = None
    variant: Variant | None = None
    # What would make a host fit that does not now.
    remedy: str = ""
    # So many filters refuse the host, even when it is idle.
    failed: int = 0


def offers(state: State, spec: JobSpec, job: Job | None = None) -> tuple[Offer, ...]:
    """One offer a host, in the order in which hosts would be asked, the rejected ones last, of these the nearest first;
    ``job``: to more of its nodes."""
    asking = job or Job(JobId(""), 0, "", "", "", spec, 0.0)
    means = state.paces.get(asking.id)
    scoring = Offers(Asks.of(asking, UNKNOWN if means is None else means.pace))
    scoring.count_nodes(state)
    found = [_scored(state, scoring, _best_offer(state, host, spec), spec) for host in state.hosts.values()]
    if spec.placement is Placement.CLUSTER and spec.nodes > 1:
        found = _without_group(state, spec, found)
    if job is not None and state.pending[job.id]:
        found = _without_kept(state, job, found)
    return tuple(sorted(found, key=lambda offer: _order(spec, offer)))


def nearest(found: Sequence[Offer]) -> str:
    """Of ``offers`` of which none has room now: the host that comes closest, and what would make it fit."""
    if not found or found[0].nodes_now:
        return ""
    offer = found[0]
    if offer.remedy:
        return f"{offer.host.name} would fit {offer.remedy}"
    return f"{offer.host.name} would fit but for this: {offer.rejection}"


def _order(spec: JobSpec, offer: Offer) -> tuple[bool, bool, int, score.Key, str]:
    key = () if offer.terms is None else score.key(spec.optimize, offer.terms, near=spec.near is not None)
    return (offer.nodes_now == 0, offer.nodes_ever == 0, offer.failed, key, offer.host.name)


def _scored(state: State, scoring: Offers, offer: Offer, spec: JobSpec) -> Offer:
    """The same, with what the planner compares the host by."""
    best = scoring.offer(state, offer.host.id) or scoring.offer(state, offer.host.id, idle=True)
    if best is None:
        return offer
    remedy = ""
    if not offer.nodes_now and fit.unusable(offer.host) is None:
        remedy = fit.remedy(offer.host, state.usage[offer.host.id], best.option.need)
    return replace(offer, terms=best.terms, variant=variant_of(spec, best.option.name), remedy=remedy)


def _best_offer(state: State, host: Host, spec: JobSpec) -> Offer:
    """The offer to whichever kind of node the host does most for; of several the first kind counts."""
    offers = [_offer(state, host, need, spec) for need in needs.all_needs(spec)]
    return max(offers, key=lambda offer: (offer.nodes_now, offer.nodes_ever, -offer.failed))


def _offer(state: State, host: Host, need: fit.Need, spec: JobSpec) -> Offer:
    failed = fit.failed(host, need)
    if failed:
        return Offer(host, 0, 0, "; ".join(failed), failed=len(failed))
    limit = 1 if spec.placement is Placement.CLUSTER else spec.nodes
    usage = state.usage[host.id]
    ever = fit.room(host, Usage(), need, limit)
    rejection = fit.unusable(host) or fit.not_now(host, usage, need)
    if rejection is not None:
        return Offer(host, 0, ever, rejection)
    return Offer(host, fit.room(host, usage, need, limit), ever, "")


def _without_group(state: State, spec: JobSpec, found: list[Offer]) -> list[Offer]:
    """For hosts that would do alone, when no group can be formed: how many each could be in a group with."""
    free, nodes = [offer.host for offer in found if offer.nodes_now], spec.nodes
    if len(free) >= nodes and regroup.plan(state, spec) is not None:
        return found
    return [replace(o, rejection=_too_few(state, o.host, free, nodes)) if o.nodes_now else o for o in found]


def _without_kept(state: State, job: Job, found: list[Offer]) -> list[Offer]:
    """No room for the job is what is kept for others: if it might go there nevertheless, it would not wait."""
    kept = held_back.kept_from(state, job.spec, job.id)
    return [
        replace(o, nodes_now=0, rejection=held_back.because(state, kept[o.host.id]))
        if o.nodes_now and o.host.id in kept
        else o
        for o in found
    ]


def _too_few(state: State, host: Host, free: list[Host], nodes: int) -> str:
    group = network.group_around(state, host, free)
    others = _names([state.hosts[member] for member in group if member != host.id])
    line = f"the job needs {nodes} hosts that all reach each other and have room now; "
    line += f"with {others} it would be {len(group)}" if others else "no other one reaches it"
    left_out = [h.id for h in free if h.id not in group]
    broken = [
        network.describe_failure(state, a, b)
        for other in left_out
        for a, b in ((host.id, other), (other, host.id))
        if state.reach.failure(a, b) is not None
    ]
    return f"{line} (not reached: {'; '.join(broken[:2])})" if broken else line


def impossible(state: State, spec: JobSpec) -> str:
    """Why no host that is known, however idle, could ever hold a node; empty when one could, or none is known yet."""
    lines = [_impossible(state, spec, variant) for variant in needs.variants_of(spec)]
    return lines[0] if all(lines) else ""


def _impossible(state: State, spec: JobSpec, variant: str) -> str:
    """The same for one variant; for the first of its groups that no host could hold a node of."""
    lines = (_never(state, part) for part in needs.parts_of(spec, variant))
    return next((line for line in lines if line), "")


def _never(state: State, part: needs.Part) -> str:
    known = [host for host in state.hosts.values() if host.hardware is not None]
    reasons: dict[str, list[Host]] = {}
    for host in known:
        reason = fit.never(host, part.need)
        if reason is None:
            return ""
        reasons.setdefault(reason, []).append(host)
    # What few hosts say comes first: of a hundred without GPUs and one with too few, that one is of interest.
    rarest = sorted(reasons.items(), key=lambda group: len(group[1]))
    shown = "; ".join(f"{_names(hosts)}: {reason}" for reason, hosts in rarest[:5])
    more = f"; and {len(rarest) - 5} more reasons" if len(rarest) > 5 else ""
    whose = f"group {part.name}" if part.name else "this job"
    return f"no host could ever hold a node of {whose}, even when idle: {shown}{more}" if known else ""


def waiting_for(state: State, spec: JobSpec, *, placed: int = 0) -> str:
    """What the nodes that are not placed wait for, in one line; empty when they would all be placed now."""
    need = needs.leading(spec).need
    never = impossible(state, spec)
    if never:
        return never
    if placement.HOLD in state.deadlines:
        return "waits a moment: the coordinator was restored from a backup, and hosts may still run what it never knew"
    if not state.hosts:
        return "waits for a host: none has joined; 'coordinator token create' makes a token for one"
    if spec.placement is Placement.ANY:
        return _waiting_any(state, spec, need, placed)
    return _waiting_cluster(state, spec)


def summary(state: State, job: Job) -> str:
    """One line on the whole job: what it waits for, where it runs, or how it ended."""
    if job.state.ended:
        return f"{job.state.value}{': ' + job.reason if job.reason else ''}"
    if job.id in state.withheld:
        return waits.describe(state, job)
    further = (
        _links(state, job),
        preparing.waiting(state, job),
        preflight.waiting(state, job),
        startup.waiting(state, job),
        backends.waiting(state, job),
        absence.of_job(state, job),
    )
    also = "".join(f"; {words}" for words in further if words)
    pending = len(state.pending[job.id])
    if job.id in state.gangs and job.state is JobState.QUEUED:
        begins = _rests(state, job) or "is about to be formed again"
        return f"{begins}, on the hosts that it still holds (before: {job.reason})"
    if job.state is JobState.QUEUED or pending:
        waiting = preempt.waiting(state, job) or nearness.waiting(state, job) or state.planning.steered.get(job.id, "")
        waiting = waiting or waiting_for(state, job.spec, placed=job.spec.nodes - pending)
        before = f" (before: {job.reason})" if job.reason else ""
        limited = max_running.reached(job, state.counts[job.id])
        waiting = limited or waiting or _rests(state, job) or held_back.waiting(state, job.spec, job.id)
        return (waiting or "is about to be placed") + before + also
    ready = spare_hosts(state, job)
    hosts = {state.hosts[state.allocations[a].host_id].name for a in state.job_allocations[job.id]} - set(ready)
    line = f"{job.state.value} on {', '.join(sorted(hosts))}" if hosts else job.state.value
    line += f" (before: {job.reason})" if job.reason and job.state is JobState.STARTING else ""
    return (f"{line}; {_spares_line(job.spec, ready)}" if job.spec.spares else line) + also


def _links(state: State, job: Job) -> str:
    """How the members of the job's group are linked; empty where it has none, or nothing is known of its links."""
    gang = state.gangs.get(job.id)
    members = [] if gang is None or gang.group is None else [member.host_id for member in gang.group.members]
    known = all(host in state.links for host in members)
    return network.describe_group(state, members) if known else ""


def _rests(state: State, job: Job) -> str:
    """That nothing is placed though there is room, because what failed rests; empty when something may be placed."""
    resting, pending = state.resting.get(job.id, {}), state.pending[job.id]
    if None in resting:
        return "rests after a failure before it is formed again, longer each time"
    if not pending or not all(rank in resting for rank in pending):
        return ""
    nodes = "1 node rests" if len(pending) == 1 else f"{len(pending)} nodes rest"
    failed = state.nodes[job.id].get(min(pending))
    cause = f"; {failed.reason}" if failed is not None and failed.reason else ""
    return f"{nodes} after a failure before the next attempt, longer each time{cause}"


def spare_hosts(state: State, job: Job) -> tuple[str, ...]:
    """The names of the hosts that the job holds as spares."""
    return tuple(state.hosts[spare.host_id].name for spare in spares.spares_of(state, job))


def _spares_line(spec: JobSpec, ready: Sequence[str]) -> str:
    count = f"{len(ready)} of {spec.spares} spare{'' if spec.spares == 1 else 's'}"
    return f"{count}: {', '.join(ready)}" if ready else count


def _waiting_any(state: State, spec: JobSpec, need: fit.Need, placed: int) -> str:
    usable = list(placement.usable_hosts(state, need))
    if not usable:
        return _nobody(state, need)
    room = sum(fit.room(host, state.usage[host.id], need, spec.nodes) for host in usable)
    left = spec.nodes - placed
    if room >= left:
        return ""
    closest = usable[0]
    why = fit.not_now(closest, state.usage[closest.id], need) or "has no more room"
    return f"{left - room} of {spec.nodes} nodes wait for room; {closest.name}: {why}"


def _waiting_cluster(state: State, spec: JobSpec) -> str:
    if regroup.plan(state, spec) is not None:
        return ""
    variants = (name for name in needs.variants_of(spec) if not _impossible(state, spec, name))
    parts = needs.parts_of(spec, next(variants, needs.variants_of(spec)[0]))
    usable: dict[HostId, Host] = {}
    busy: dict[str, str] = {}
    for part in parts:
        fitting = list(placement.usable_hosts(state, part.need))
        if len(fitting) < part.count:
            return _too_few_hosts(state, part.count, part.name, fitting, part.need)
        usable.update((host.id, host) for host in fitting)
        reasons = ((host.name, fit.not_now(host, state.usage[host.id], part.need)) for host in fitting)
        busy.update((name, reason) for name, reason in reasons if reason is not None)
    if len(usable) < spec.nodes:
        return _too_few_hosts(state, spec.nodes, "", list(usable.values()), parts[0].need)
    group = network.largest_group(state, list(usable.values()))
    if len(group) < spec.nodes:
        return _no_network(state, list(usable.values()), [state.hosts[h] for h in group], spec.nodes)
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(busy.items())[:3])
    hosts = "a host to be free" if spec.nodes == 1 else f"{spec.nodes} hosts of one network to be free at once"
    return f"waits for {hosts}" + (f": {shown}" if shown else "")


def _too_few_hosts(state: State, nodes: int, group: str, fitting: list[Host], need: fit.Need) -> str:
    whose = f" of group {group}" if group else ""
    others = _others(state, need)
    if not fitting:
        return f"waits for a host that fits{f' a node{whose}' if whose else ''}{others}"
    verb = "fits" if len(fitting) == 1 else "fit"
    each = f"waits for {nodes} host{'' if nodes == 1 else 's'}, one for each node{whose}"
    return f"{each}; only {_names(fitting)} {verb}{others}"


def _no_network(state: State, usable: list[Host], group: list[Host], nodes: int) -> str:
    line = (
        f"waits for a network of {nodes} hosts that all reach each other; "
        f"of {len(usable)} that fit, the largest has {len(group)}: {_names(group)}"
    )
    broken = network.broken_links(state, [host.id for host in usable])
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        return f"{line}; not reached: {'; '.join(broken[:3])}{more}"
    unprobed = any(not state.reach.probed(a.id, b.id) for a in usable for b in usable if a.id != b.id and b.peer.port)
    return f"{line}; probes are still out" if unprobed else line


def _nobody(state: State, need: fit.Need) -> str:
    return "waits for a host that fits" + _others(state, need)


def _others(state: State, need: fit.Need) -> str:
    reasons = [
        f"{host.name}: {reason}"
        for host in state.hosts.values()
        if (reason := fit.never(host, need) or fit.unusable(host)) is not None
    ]
    if not reasons:
        return ""
    return f" ({several(reasons, 3, '; ')})"


def _names(hosts: list[Host]) -> str:
    return several([host.name for host in hosts], 8)
