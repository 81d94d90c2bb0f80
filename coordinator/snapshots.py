"""Views of the state for readers. Each is built in one go, between two turns, so that it is consistent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from coordinator.core import (
    absence,
    backends,
    copies,
    explain,
    fencing,
    health_book,
    ledger,
    nearness,
    network,
    preflight,
    preparing,
    startup,
)
from coordinator.core.health_records import Health
from coordinator.core.ids import HostId, JobId, allocation_id
from coordinator.core.jobs import find_job
from coordinator.core.model import Allocation, Host, HostState, Job, JobState, Node, NodeState
from coordinator.core.program import group_of, parameters_of
from coordinator.core.state import State
from coordinator.paging import PAGE, NodeQuery, choose
from coordinator.views import (
    FIRST_NODES,
    CopyView,
    HostView,
    JobDetail,
    JobView,
    NetworkView,
    NodeCounts,
    NodeView,
    OverviewView,
)

# Of so many waiting jobs the reason is worked out anew for each view; further ones show that they are in the queue.
EXPLAINED_JOBS = 50


def job_view(state: State, job: Job, *, explained: bool = True) -> JobView:
    """A job with its counts; ``explained`` puts into a waiting job's reason what it waits for now."""
    counts = state.counts[job.id]
    pending = counts[NodeState.PENDING]
    stopped = counts[NodeState.STOPPED]
    if job.state.ended:
        # Nodes that never started are not waiting any more.
        pending, stopped = 0, stopped + pending
    view = NodeCounts(
        pending=pending,
        placed=counts[NodeState.PLACED],
        running=counts[NodeState.RUNNING],
        stopping=counts[NodeState.STOPPING],
        done=counts[NodeState.DONE],
        failed=counts[NodeState.FAILED],
        stopped=stopped,
    )
    found = JobView(
        job,
        view,
        # As JSON it changes with every look; a hundredth of a cent is all that anybody wants to know.
        spent=round(ledger.job_cost(state, job), 4),
        price_per_hour=state.meters[job.id].price,
    )
    waits = explained and _waits(job, pending)
    if waits:
        return replace(found, reason=explain.summary(state, job))
    now = [part.waiting(state, job) for part in (preparing, preflight, startup, backends)]
    reason = _joined(job.reason, *now, absence.of_job(state, job))
    return replace(found, reason=reason, spare_hosts=explain.spare_hosts(state, job))


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _waits(job: Job, pending: int) -> bool:
    return not job.state.ended and job.state is not JobState.STOPPING and pending > 0


def node_view(state: State, node: Node) -> NodeView:
    """A node with the name of its host, and what it waits for if that is away."""
    host = state.hosts.get(node.host_id) if node.host_id is not None else None
    spec = state.jobs[node.job_id].spec
    _, part = group_of(spec, node.rank)
    if host is not None and host.id in state.silent:
        held = state.allocations.get(allocation_id(node.job_id, node.rank, node.attempt))
        if held is not None:
            node = replace(node, reason=_joined(node.reason, absence.waits_for(state, held)))
    name = host.name if host is not None else (node.host_id or "")
    several = copies.held(state, node.job_id, node.rank)
    return NodeView(
        node,
        name,
        tuple(_copy_view(state, copy) for copy in several),
        price_per_hour=sum(held.price for held in several or _held(state, node)),
        parameters=parameters_of(spec, node.rank),
        group=part.name if part is not None else "",
    )


def _held(state: State, node: Node) -> list[Allocation]:
    """What a node without copies holds."""
    held = None if node.state.ended else state.allocations.get(allocation_id(node.job_id, node.rank, node.attempt))
    return [] if held is None else [held]


def _copy_view(state: State, copy: Allocation) -> CopyView:
    return CopyView(
        attempt=copy.attempt,
        host_id=copy.host_id,
        host_name=state.hosts[copy.host_id].name,
        state=copies.state_of(copy),
        reason=_joined(copy.stop_reason, absence.waits_for(state, copy)),
        started_at=copy.started_at,
    )


def job_detail(state: State, job: Job, query: NodeQuery = FIRST_NODES) -> JobDetail:
    """A job with those nodes that are asked for, of those that were ever placed."""

    def look(node: Node) -> tuple[Node, str]:
        host = state.hosts.get(node.host_id) if node.host_id is not None else None
        return node, host.name if host is not None else (node.host_id or "")

    page = choose(state.nodes[job.id], query, look)
    nodes = tuple(node_view(state, node) for node in page.nodes)
    return JobDetail(job_view(state, job), nodes, page.next_rank, page.total)


@dataclass(slots=True)
class Told:
    """What a watcher of a job was told: the nodes as they were, by rank. Records never change, so identity tells."""

    nodes: dict[int, Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """A job as it is now, and nodes that changed since a watcher was told, ``more`` if not all of them; ``version`` is
    the state's."""

    job: JobView
    nodes: tuple[NodeView, ...]
    version: int
    more: bool = False


def news(state: State, job_id: JobId, told: Told | None) -> News:
    """What a watcher has not been told yet, a page of it, and takes it as told; None: it wants no nodes.

    Raises NotFound when the job was forgotten.
    """
    job = find_job(state, job_id)
    if told is None:
        return News(job_view(state, job), (), state.version)
    untold = (node for rank, node in state.nodes[job_id].items() if told.nodes.get(rank) is not node)
    changed = list(islice(untold, PAGE + 1))
    more = len(changed) > PAGE
    del changed[PAGE:]
    told.nodes.update((node.rank, node) for node in changed)
    return News(job_view(state, job), tuple(node_view(state, node) for node in changed), state.version, more)


def jobs(state: State, *, ended: bool, limit: int) -> tuple[JobView, ...]:
    """Jobs, newest first, at most ``limit``."""
    found = [job for job in state.jobs.values() if ended or not job.state.ended]
    found.sort(key=lambda job: -job.number)
    return tuple(job_view(state, job, explained=place < EXPLAINED_JOBS) for place, job in enumerate(found[:limit]))


def networks(state: State) -> tuple[NetworkView, ...]:
    """Networks as probes show them, with the broken links to and from each one's hosts."""
    found = []
    for seen in network.networks(state):
        names = tuple(state.hosts[member].name for member in seen.members)
        found.append(NetworkView(seen.name, names, network.broken_links(state, seen.members)))
    return tuple(found)


def hosts(state: State) -> tuple[HostView, ...]:
    """Every host, by number."""
    membership = {member: seen.name for seen in network.networks(state) for member in seen.members}
    return tuple(host_view(state, host_id, membership.get(host_id, "")) for host_id in state.hosts)


def host_view(state: State, host_id: HostId, network_name: str) -> HostView:
    """One host with what is held of it."""
    host, usage = state.hosts[host_id], state.usage[host_id]
    return HostView(
        host=host,
        cpus_used=usage.cpus,
        memory_used_bytes=usage.memory_bytes,
        gpus_used=tuple(usage.gpus),
        allocations=tuple(sorted(usage.allocations)),
        network=network_name,
        vacates_at=_vacates_at(state, host),
        health=state.health.get(host_id),
        warning=_silence(state, host)
        or _draining(state, host)
        or _unsound(state, host)
        or _closed(host)
        or network.stated_but_denied(state, host)
        or _said(host),
        round_trip=nearness.round_trip(state, host_id),
    )


def _unsound(state: State, host: Host) -> str:
    """What is wrong with its GPUs: the worst is what keeps work away."""
    bad = [r for r in health_book.of_host(state, host.id).gpus if r.state is not Health.HEALTHY]
    bad.sort(key=lambda record: not record.state.fenced)
    told = [f"{health_book.name_of(host, r.gpu)} {r.state.value}: {r.reason}" for r in bad[:2]]
    return "; ".join([*told, f"and {len(bad) - 2} more"] if len(bad) > 2 else told)


def _said(host: Host) -> str:
    return "; ".join(host.hardware.warnings) if host.hardware is not None else ""


def _silence(state: State, host: Host) -> str:
    timing, held = state.timing, len(state.usage[host.id].allocations)
    if held and host.state in (HostState.LOST, HostState.OFFLINE):
        nodes = "1 node waits" if held == 1 else f"{held} nodes wait"
        return f"away, and {nodes} for it; if it is gone for good: coordinator host remove {host.name} --gone"
    if host.state is not HostState.SUSPECT:
        return ""
    return f"not heard of for over {timing.suspect:g} s; its work is given up at {timing.lost:g} s"


def _vacates_at(state: State, host: Host) -> float:
    # To the second, for it is worked out anew by clocks that differ a little.
    return float(round(state.at.wall + host.vacate_at - state.at.served)) if host.vacate_at else 0.0


def _draining(state: State, host: Host) -> str:
    if not host.vacate_at:
        return ""
    held = len(state.usage[host.id].allocations)
    if not held:
        return f"drained{_wish(host)}: nothing is left on it"
    left = "1 node is left" if held == 1 else f"{held} nodes are left"
    if host.vacate_at <= state.at.served:
        return f"draining{_wish(host)}: {left}, and told to stop"
    at = datetime.fromtimestamp(_vacates_at(state, host), UTC)
    day = "" if at.date() == datetime.fromtimestamp(state.at.wall, UTC).date() else at.strftime("%Y-%m-%d ")
    return f"draining{_wish(host)}: {left}, to go by {day}{at.strftime('%H:%M')} UTC"


def _wish(host: Host) -> str:
    return f" by its own wish ({host.vacates_for})" if host.vacates_for else ""


def _closed(host: Host) -> str:
    reason = host.drained or (host.hardware.disk_problem if host.hardware is not None else "")
    return f"no new work: {reason}" if reason else ""


def overview(state: State, *, job_limit: int = 200) -> OverviewView:
    """Hosts, networks and the newest jobs at one moment."""
    return OverviewView(
        hosts=hosts(state),
        networks=networks(state),
        jobs=jobs(state, ended=True, limit=job_limit),
        events=tuple(state.events),
        breaker=fencing.opens_at(state, None, state.at.served) > 0.0,
    )
