"""The scheduler: what waits is given to hosts, or there is a reason why not.

``plan`` runs at the end of a turn. A job that could not be placed is looked at again only when a host changed, and
then, for ``any``, only at the changed hosts: a turn costs what changed, not what there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace

from coordinator.core import copies, fit, nearness, regroup, reservations, score, spares
from coordinator.core.changes import (
    AllocationReserved,
    DeadlineSet,
    GangUpdated,
    JobUpdated,
    NodeUpdated,
)
from coordinator.core.effects import DesiredChanged, ProbesWanted
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Gang, GangPhase, Host, Job, JobState, Node, NodeState, Phase
from coordinator.core.reservations import Walk
from coordinator.core.spec import Placement
from coordinator.core.state import State
from coordinator.core.turn import Turn

# While this deadline stands nothing is placed.
HOLD = "hold:placement"


def plan(turn: Turn) -> None:
    """Place what can be placed, oldest job first; then hold the spares that are missing."""
    state = turn.state
    if HOLD in state.deadlines:
        return
    jobs: set[JobId] = set()
    hosts: set[HostId] = set()
    behind = reservations.begin(state, turn.at.served)
    # Again for what a gang gave up that can't be formed anew, and for hosts that are kept for nobody any more.
    while state.fresh_jobs or state.changed_hosts or behind:
        fresh, changed, behind = state.fresh_jobs, state.changed_hosts, False
        state.fresh_jobs, state.changed_hosts = set(), set()
        walk = Walk(state, turn.at.served)
        formed = _place(turn, walk, fresh, changed)
        state.changed_hosts |= walk.close()
        jobs, hosts = jobs | fresh | formed, hosts | changed
    if jobs or hosts:
        for job_id in _queue(state, [job for job in state.unfinished if state.jobs[job].spec.spares]):
            spares.fill(turn, state.jobs[job_id], state.hosts if job_id in jobs else hosts, walk)


def _place(turn: Turn, walk: Walk, fresh: set[JobId], changed: set[HostId]) -> set[JobId]:
    """Place jobs, those that are ``fresh`` on any host, the others where something ``changed``; the gangs formed."""
    state = turn.state
    formed: set[JobId] = set()
    for job_id in _queue(state, list(state.unfinished)):
        job = state.jobs[job_id]
        if job.spec.spares:
            spares.drop_useless(turn, job, changed)
        if not (state.pending[job_id] or state.short.get(job_id)) or job.state is JobState.STOPPING:
            continue
        if nearness.measuring(state, job.spec.near):
            continue  # It becomes fresh again when the answers are there, or late.
        if job.spec.placement is Placement.ANY:
            _place_any(turn, walk, job, state.hosts if job_id in fresh else changed)
            if _take(state, job, 1):
                walk.blocked(job)
        elif None not in state.resting.get(job_id, ()) and _may_be_formed(state, job_id):
            if _place_gang(turn, walk, job):
                formed.add(job_id)
            elif job_id not in state.gangs:
                walk.blocked(job)
    return formed


def _may_be_formed(state: State, job_id: JobId) -> bool:
    gang = state.gangs.get(job_id)
    return gang is None or gang.phase is GangPhase.REFORMING


def _queue(state: State, queue: list[JobId]) -> list[JobId]:
    """Jobs, given by age, in the order in which they are placed: by priority, a gang to be formed again first."""
    jobs = state.jobs
    if any(jobs[job_id].spec.priority or _forms_again(jobs[job_id]) for job_id in queue):
        queue.sort(key=lambda job_id: (-jobs[job_id].spec.priority, not _forms_again(jobs[job_id])))
    return queue


def _forms_again(job: Job) -> bool:
    return job.generation > 0 and job.state is JobState.QUEUED


def gang_deadline(job: Job) -> str:
    """The key of the deadline by which a gang of this job has to be prepared."""
    return f"gang:{job.id}"


def usable_hosts(state: State, need: fit.Need) -> Iterator[Host]:
    """Hosts that may get work now and could hold the node when idle."""
    for host in state.hosts.values():
        if fit.unusable(host) is None and fit.never(host, need) is None:
            yield host


# ---------------------------------------------------------------- any


def _place_any(turn: Turn, walk: Walk, job: Job, among: Iterable[HostId]) -> None:
    state, need = turn.state, fit.Need.of(job.spec.resources)
    waiting = len(state.pending[job.id])
    offers = _offers(state, walk, job, need, among, waiting) if waiting else []
    for rank in _take(state, job, sum(room for _, room, _ in offers)):
        _take_offer(turn, job, rank, need, _best_offer(state, job, state.nodes[job.id].get(rank), offers), offers)
    if state.short.get(job.id):
        # Copies of nodes that were placed just now may go where nothing has changed.
        _place_copies(turn, walk, job, need, among if len(state.pending[job.id]) == waiting else state.hosts)
    if state.job_allocations[job.id] and state.jobs[job.id].state is JobState.QUEUED:
        turn.record(JobUpdated(replace(state.jobs[job.id], state=JobState.STARTING, reason="")))


_Room = tuple[tuple[float, float, int], int, HostId]


def _offers(state: State, walk: Walk, job: Job, need: fit.Need, among: Iterable[HostId], limit: int) -> list[_Room]:
    """Hosts with room now, as a heap with the best first."""
    offers: list[_Room] = []
    for host_id in among:
        host = state.hosts.get(host_id)
        if host is None or fit.unusable(host) or fit.never(host, need):
            continue
        room = walk.allowed(job, need, host, fit.room(host, state.usage[host_id], need, limit))
        if room:
            offers.append((score.preference(host, state.usage[host_id]), room, host_id))
    heapq.heapify(offers)
    return offers


def _take_offer(turn: Turn, job: Job, rank: int, need: fit.Need, offer: _Room, offers: list[_Room]) -> None:
    """Place a node's next attempt on the host of ``offer``, and put back what room is left there."""
    _, room, host_id = offer
    host, usage = turn.state.hosts[host_id], turn.state.usage[host_id]
    held = fit.hold(host, usage, need)
    if held is None:
        return
    node = turn.state.nodes[job.id].get(rank)
    _reserve(turn, job, rank, host, held, Phase.RUNNING, turn.state.next_attempt(node.last_attempt if node else 0))
    if room > 1:
        heapq.heappush(offers, (score.preference(host, usage), room - 1, host_id))


def _place_copies(turn: Turn, walk: Walk, job: Job, need: fit.Need, among: Iterable[HostId]) -> None:
    """Place further copies of nodes that have one, in backends where they have none; all second ones before third."""
    state = turn.state
    short, resting = state.short[job.id], state.resting.get(job.id, {})
    backends: dict[str, list[_Room]] = {}
    for offer in _offers(state, walk, job, need, among, len(short)):
        backends.setdefault(state.hosts[offer[2]].facts.backend, []).append(offer)
    for have in range(1, job.spec.redundancy):
        for rank in [r for r in short if r not in resting and len(copies.held(state, job.id, r)) == have]:
            taken = copies.backends(state, job.id, rank)
            free = [offers for backend, offers in backends.items() if offers and backend not in taken]
            if free:
                offer, offers = _best_backend(state, job, state.nodes[job.id][rank], free)
                _take_offer(turn, job, rank, need, offer, offers)


def _best_backend(state: State, job: Job, node: Node, free: list[list[_Room]]) -> tuple[_Room, list[_Room]]:
    """Take the best offer of several backends out, if there is one outside the domain where the node last failed."""
    failed = state.hosts.get(node.failed_host_id) if node.failed_host_id is not None else None
    found = []
    for offers in free:
        offer = _best_offer(state, job, node, offers)
        near = failed is not None and score.same_domain(job.spec.spread, failed, state.hosts[offer[2]])
        found.append((near, offer, offers))
    best = min(found, key=lambda each: each[:2])
    for each in found:
        if each is not best:
            heapq.heappush(each[2], each[1])
    return best[1], best[2]


def _best_offer(state: State, job: Job, node: Node | None, offers: list[_Room]) -> _Room:
    """Take the best offer out; for a node that failed, the best outside the domain where it did, if there is one."""
    last = None if node is None else node.failed_host_id or node.host_id
    failed = None if last is None else state.hosts.get(last)
    passed: list[_Room] = []
    chosen = heapq.heappop(offers)
    while failed is not None and offers and score.same_domain(job.spec.spread, failed, state.hosts[chosen[2]]):
        passed.append(chosen)
        chosen = heapq.heappop(offers)
    if failed is not None and passed and score.same_domain(job.spec.spread, failed, state.hosts[chosen[2]]):
        passed.append(chosen)
        chosen = passed.pop(0)
    for offer in passed:
        heapq.heappush(offers, offer)
    return chosen


def _take(state: State, job: Job, count: int) -> list[int]:
    ranks: list[int] = []
    resting = state.resting.get(job.id, {})
    for rank in state.pending[job.id]:
        if len(ranks) == count:
            break
        if rank not in resting:
            ranks.append(rank)
    return ranks


def _reserve(turn: Turn, job: Job, rank: int, host: Host, held: fit.Held, wanted: Phase, attempt: int) -> None:
    allocation = fit.allocation(job, rank, attempt, host, held, wanted, turn.at.served)
    before = turn.state.nodes[job.id].get(rank)
    turn.record(AllocationReserved(allocation))
    turn.effect(DesiredChanged(host.id, allocation.id))
    if before is not None and before.state in (NodeState.PLACED, NodeState.RUNNING):
        # One more copy: another one leads the node.
        turn.record(NodeUpdated(replace(before, latest_attempt=attempt)))
        return
    turn.record(
        NodeUpdated(
            Node(
                job_id=job.id,
                rank=rank,
                state=NodeState.PLACED,
                attempt=attempt,
                host_id=host.id,
                gpus=held.gpus,
                reason=_again(turn.state, before) if before else "",
                host_failures=before.host_failures if before else 0,
                errors=before.errors if before else 0,
                failing_since=before.failing_since if before else 0.0,
                copies_failed=before.copies_failed if before else 0,
                failed_host_id=before.failed_host_id if before else None,
            )
        )
    )


def _again(state: State, before: Node) -> str:
    """Why a node is tried again, kept while it runs: nobody should have to guess where its output began anew."""
    host = state.hosts.get(before.host_id) if before.host_id is not None else None
    return f"attempt {before.attempt} on {host.name if host else before.host_id}: {before.reason}"


# ---------------------------------------------------------------- cluster


def group_candidates(state: State, need: fit.Need) -> list[Host]:
    """Hosts with room for one more such node now, best first."""
    hosts = [h for h in usable_hosts(state, need) if fit.not_now(h, state.usage[h.id], need) is None]
    return sorted(hosts, key=lambda host: score.preference(host, state.usage[host.id]))


def _place_gang(turn: Turn, walk: Walk, job: Job) -> bool:
    """Hold hosts for the job's next generation, if a group can be formed; what an older one kept is given up for it, or
    because there is none."""
    state, need = turn.state, fit.Need.of(job.spec.resources)
    choice = regroup.choose(state, job, walk.bars)
    if job.id in state.gangs:
        if (choice is None or choice.strayed) and regroup.awaited(state, job):
            return False
        regroup.dissolve(turn, job, used=None if choice is None else choice.hosts)
    if choice is None:
        return False
    generation = state.next_attempt(job.generation)
    reason = regroup.why_again(job, choice) if job.generation else ""
    turn.record(JobUpdated(replace(job, state=JobState.STARTING, generation=generation, reason=reason)))
    turn.record(GangUpdated(Gang(job.id, generation, GangPhase.PREPARING)))
    for rank, host_id in enumerate(choice.hosts):
        host = state.hosts[host_id]
        held = fit.hold(host, state.usage[host_id], need)
        assert held is not None  # regroup.choose just checked
        _reserve(turn, job, rank, host, held, Phase.PREPARED, generation)
    for spare in spares.spares_of(state, job):
        # The members probe it while they are prepared.
        turn.effect(ProbesWanted(spare.host_id, choice.hosts))
    turn.record(DeadlineSet(gang_deadline(job), turn.at.mono + state.timing.prepare))
    return True
