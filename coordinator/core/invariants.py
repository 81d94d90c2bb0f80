"""What must never happen, as a check of the whole state. Tests and the simulator run it after every step."""

from __future__ import annotations

from math import fsum

from coordinator.core import budgets, health_book, preflight, regroup, spares, startup, waits
from coordinator.core.changes import Withheld
from coordinator.core.health_marks import marked
from coordinator.core.health_records import Health, HostHealth
from coordinator.core.ids import JobId
from coordinator.core.leases import vacate_deadline
from coordinator.core.lifecycle import OBSERVED_ORDER
from coordinator.core.max_running import holding
from coordinator.core.model import Allocation, GangPhase, Job, JobState, Node, NodeState, Phase
from coordinator.core.ranks import RankSet
from coordinator.core.spec import Placement
from coordinator.core.state import State

_PREPARED = OBSERVED_ORDER[Phase.PREPARED]


class Broken(AssertionError):
    """An invariant does not hold: the coordinator has a bug."""


def check_invariants(state: State) -> None:
    """Raise Broken, naming the first thing that is wrong."""
    _check_capacity(state)
    _check_backlog(state)
    _check_nodes(state)
    _check_gangs(state)
    _check_measuring(state)
    _check_jobs(state)
    _check_costs(state)
    _check_waits(state)
    _check_drains(state)
    _check_health(state)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def _check_capacity(state: State) -> None:
    for host_id, usage in state.usage.items():
        there = [a for a in state.allocations.values() if a.host_id == host_id]
        held = [a for a in there if a.behind is None]
        gpus = [gpu for allocation in held for gpu in allocation.gpus]
        for gpu in set(gpus):
            parts = [a.share for a in held if gpu in a.gpus]
            _require(fsum(parts) <= 1.0 + 1e-9, f"GPU {gpu} of {host_id} is held more than once: {parts}")
            whole = usage.shared.get(gpu) is None
            _require(whole == (parts == [1.0]), f"shares of GPU {gpu} of {host_id} are indexed wrongly")
        _require({a.id for a in there} == usage.allocations, f"allocations of {host_id} are indexed wrongly")
        _require(set(gpus) == set(usage.gpus), f"GPUs of {host_id} are indexed wrongly")
        _require(sum(a.cpus for a in held) == usage.cpus, f"CPUs of {host_id} are counted wrongly")
        _require(sum(a.memory_bytes for a in held) == usage.memory_bytes, f"memory of {host_id} is counted wrongly")


def _check_backlog(state: State) -> None:
    queued = [a for a in state.allocations.values() if a.behind is not None]
    _require(
        {a.behind: a.id for a in queued} == state.chains.following, "what waits behind another one is indexed wrongly"
    )
    _require(len(state.chains.following) == len(queued), "two allocations wait behind the same one")
    counts: dict[JobId, int] = {}
    for allocation in queued:
        counts[allocation.job_id] = counts.get(allocation.job_id, 0) + 1
        before = None if allocation.behind is None else state.allocations.get(allocation.behind)
        _require(before is not None, f"{allocation.id} waits behind {allocation.behind}, which is gone")
        same = before is not None and _place_of(before) == _place_of(allocation)
        _require(same, f"{allocation.id} waits behind {allocation.behind}, which holds something else")
    _require(counts == state.chains.queued, "what waits behind others is counted wrongly")


def _place_of(allocation: Allocation) -> tuple[object, ...]:
    return (allocation.job_id, allocation.host_id, allocation.cpus, allocation.memory_bytes, allocation.gpus)


def _check_nodes(state: State) -> None:
    live: dict[tuple[JobId, int], list[Allocation]] = {}
    for allocation in state.allocations.values():
        job = state.jobs[allocation.job_id]
        if spares.is_spare(job.spec, allocation):
            _require(allocation.rank not in state.nodes[job.id], f"spare {allocation.id} has a node")
            continue
        live.setdefault((allocation.job_id, allocation.rank), []).append(allocation)
    for (job_id, rank), held in live.items():
        node, job = state.nodes[job_id][rank], state.jobs[job_id]
        if job.spec.redundancy > 1:
            _check_copies(state, node, held, job.spec.redundancy)
            continue
        allocation = held[0]
        _require(len(held) == 1, f"node {job_id}.{rank} has {len(held)} live attempts: {held}")
        over = node.state.ended or node.state is NodeState.PENDING
        kept = job.spec.placement is Placement.CLUSTER and regroup.is_kept(job, allocation)
        _require(over == kept, f"node {allocation.id} is {node.state.value} but held, kept: {kept}")
        _require(node.attempt == allocation.attempt, f"{allocation.id} is not the node's latest attempt {node.attempt}")
    for job_id, nodes in state.nodes.items():
        pending = RankSet(0, state.jobs[job_id].spec.nodes)
        for node in nodes.values():
            if node.state is not NodeState.PENDING:
                pending.discard(node.rank)
            if node.state in (NodeState.PLACED, NodeState.RUNNING, NodeState.STOPPING):
                _require(
                    (job_id, node.rank) in live, f"node {job_id}.{node.rank} is {node.state.value} but held nowhere"
                )
        _require(pending == state.pending[job_id], f"pending ranks of {job_id} are indexed wrongly")


def _check_copies(state: State, node: Node, held: list[Allocation], most: int) -> None:
    name = f"node {node.job_id}.{node.rank}"
    _require({a.id for a in held} == state.copies[node.job_id, node.rank], f"copies of {name} are indexed wrongly")
    _require(all(a.attempt <= node.last_attempt for a in held), f"{name} has an attempt beyond {node.last_attempt}")
    if node.state.ended:
        live = [a.id for a in held if a.wanted is not Phase.STOPPING]
        _require(not live, f"{name} is {node.state.value}, but {live} are not being stopped")
        return
    backends = [state.hosts[a.host_id].facts.backend for a in held]
    _require(len(held) <= most, f"{name} has {len(held)} copies, not {most}")
    _require(len(set(backends)) == len(backends), f"copies of {name} share a backend: {backends}")
    _require(node.attempt in {a.attempt for a in held}, f"{name} is led by attempt {node.attempt}, which is gone")
    wanted = node.state is not NodeState.STOPPING and len(held) < most - node.copies_failed
    _require((node.rank in state.short[node.job_id]) == wanted, f"{name} is indexed wrongly as short of copies")


def _check_gangs(state: State) -> None:
    for job in state.jobs.values():
        held = [state.allocations[a] for a in state.job_allocations[job.id]]
        gang = state.gangs.get(job.id)
        if job.spec.placement is Placement.ANY:
            _require(gang is None, f"{job.id} is placed anywhere but has a gang")
            continue
        if gang is None:
            _require(not held, f"{job.id} holds {len(held)} allocations but has no gang")
            continue
        _check_spares(job, [a for a in held if spares.is_spare(job.spec, a)])
        members = [a for a in held if not spares.is_spare(job.spec, a)]
        kept = [m.id for m in members if regroup.is_kept(job, m)]
        _require(all(m.attempt == gang.generation for m in members), f"{job.id} holds members of two generations")
        _require(len({a.host_id for a in held}) == len(held), f"two members or spares of {job.id} share a host")
        if gang.phase is GangPhase.PREPARING:
            _require(len(members) == job.spec.nodes, f"{job.id} prepares only {len(members)} of {job.spec.nodes}")
            started = [m.id for m in members if m.wanted is not Phase.PREPARED]
            _require(not started, f"gang of {job.id} started in part: {started}")
        if gang.phase is GangPhase.RUNNING:
            late = {m.rank for m in members if m.wanted is Phase.PREPARED}
            in_order = startup.is_in_order(job.spec, late, {m.rank for m in members})
            _require(in_order, f"gang of {job.id} started without {sorted(late)}")
        if gang.phase is GangPhase.REFORMING:
            _require(len(kept) == len(members), f"gang of {job.id} is to be formed again, but some of it lives")
            _require(job.state is JobState.QUEUED, f"gang of {job.id} is to be formed again, but that is not queued")
        else:
            _require(len(members) > len(kept), f"gang of {job.id} has no live member")
        if not gang.retry or gang.phase in (GangPhase.PREPARING, GangPhase.RUNNING):
            _require(not kept, f"{kept} are kept for a generation that will not be")


def _check_measuring(state: State) -> None:
    for job_id, measuring in state.measuring.items():
        gang, ranks = state.gangs.get(job_id), [rank for pair in measuring.pairs for rank in pair]
        known = gang is not None and gang.phase is GangPhase.PREPARING
        _require(known, f"{job_id} measures, but has no gang that prepares")
        _require(len(set(ranks)) == len(ranks), f"a member of {job_id} is in two measurements at once: {ranks}")
        _require(bool(measuring.awaited), f"{job_id} measures, but nobody is to answer")
        _require(preflight.preflight_deadline(state.jobs[job_id]) in state.deadlines, f"{job_id} measures for ever")


def _check_spares(job: Job, held: list[Allocation]) -> None:
    _require(len(held) <= job.spec.spares, f"{job.id} holds {len(held)} spares, not {job.spec.spares}")
    _require(not held or job.state is not JobState.STOPPING, f"{job.id} is stopping but holds spares")
    started = [a.id for a in held if a.wanted is not Phase.PREPARED or OBSERVED_ORDER[a.observed] > _PREPARED]
    _require(not started, f"spares were started: {started}")
    numbers = [a.rank - job.spec.nodes for a in held]
    _require(all(number < job.spares_taken for number in numbers), f"spares of {job.id} are counted wrongly")


def _check_jobs(state: State) -> None:
    for job in state.jobs.values():
        counts = dict.fromkeys(NodeState, 0)
        counts[NodeState.PENDING] = len(state.pending[job.id])
        for node in state.nodes[job.id].values():
            if node.state is not NodeState.PENDING:
                counts[node.state] += 1
        _require(counts == state.counts[job.id], f"nodes of {job.id} are counted wrongly")
        _require((job.id in state.unfinished) != job.state.ended, f"{job.id} is {job.state.value} but indexed wrongly")
        if job.state.ended:
            _require(not state.job_allocations[job.id], f"{job.id} has ended but still holds something")
        indexed = job.spec.near is not None and job.id in state.near.get(job.spec.near, ())
        _require(indexed == (job.spec.near is not None and not job.state.ended), f"{job.id} is indexed wrongly by near")
        if job.state is JobState.QUEUED:
            _require(bool(state.pending[job.id]), f"{job.id} is queued but has no pending node")


def _check_drains(state: State) -> None:
    for host in state.hosts.values():
        if not host.vacate_at:
            _require(vacate_deadline(host.id) not in state.deadlines, f"{host.id} is to be vacated, but not drained")
            continue
        _require(host.cordoned, f"{host.id} is drained but not cordoned")
        if vacate_deadline(host.id) not in state.deadlines:
            held = [state.allocations[a] for a in state.usage[host.id].allocations]
            staying = [a.id for a in held if a.wanted is not Phase.STOPPING]
            _require(not staying, f"{host.id} is drained, but {staying} stay there")


def _check_health(state: State) -> None:
    _require(set(state.health) <= set(state.hosts), "health is kept of hosts that are gone")
    draining = {h.host_id for h in state.health.values() if any(r.state is Health.DRAINING for r in h.gpus)}
    _require(draining == state.vacating, f"hosts that are vacated are indexed wrongly: {draining ^ state.vacating}")
    for host in state.hosts.values():
        health = state.health.get(host.id, HostHealth(host.id))
        _require(marked(host, health) is host, f"{host.id} is not marked by the health of its GPUs")
        _require(len({r.gpu for r in health.gpus}) == len(health.gpus), f"a GPU of {host.id} has two records")
        for record in health.gpus:
            name = f"GPU {record.gpu!r} of {host.id}"
            _require(record.state is not Health.UNKNOWN, f"{name} is stored as unknown")
            _require((record.state is Health.TESTING) == bool(record.awaited), f"{name} awaits {record.awaited}")
            held = [a.id for a in health_book.holders(state, host, record.gpu)]
            out = record.state in (Health.QUARANTINED, Health.TESTING)
            _require(not out or not held, f"{name} is {record.state.value}, but held by {held}")
            _require(record.state is not Health.DRAINING or bool(held), f"{name} is draining, but nothing holds it")


def _check_costs(state: State) -> None:
    for job in state.jobs.values():
        priced = [a.price for a in (state.allocations[a] for a in state.job_allocations[job.id]) if a.held_since]
        meter = state.meters[job.id]
        _require(abs(sum(priced) - meter.price) < 1e-6, f"{job.id} costs {sum(priced)} USD/h, not {meter.price}")
        watched = job.spec.budget is not None and meter.price > 0 and job.state is not JobState.STOPPING
        _require(not watched or budgets.deadline(job) in state.deadlines, f"nobody watches the budget of {job.id}")
    total = sum(meter.price for meter in state.meters.values())
    _require(abs(total - state.bill.price) < 1e-6, f"all jobs cost {total} USD/h, not {state.bill.price}")
    spent = sum(job.spent for job in state.jobs.values())
    booked = sum(entry.usd for entry in state.ledger.values())
    # What jobs cost that were forgotten since is in the ledger alone.
    _require(spent <= booked + 1e-6 * max(1.0, booked), f"jobs cost {spent} USD, but {booked} were booked")


def _check_waits(state: State) -> None:
    dependents: dict[JobId, set[JobId]] = {}
    for job_id in state.unfinished:
        job, counts = state.jobs[job_id], state.counts[job_id]
        for dependency in job.spec.after:
            dependents.setdefault(JobId(dependency.job), set()).add(job_id)
        limit = job.spec.max_running
        _require(limit is None or holding(counts) <= limit, f"{holding(counts)} nodes of {job_id} run, not {limit}")
    _require(dependents == state.dependents, "what jobs wait for is indexed wrongly")
    for job_id, by in state.withheld.items():
        job = state.jobs[job_id]
        _require(not state.job_allocations[job_id], f"{job_id} is withheld but holds something")
        _require(job.state in (JobState.QUEUED, JobState.STOPPING), f"{job_id} is withheld but {job.state.value}")
        waited = by is Withheld.TIME or job_id in state.to_follow or waits.open_ones(state, job)
        _require(bool(waited), f"{job_id} is withheld, but nothing that it waits for is open")
