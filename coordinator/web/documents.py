"""The JSON documents: the whole cluster and one job, cut to a page so that a large fleet stays light."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.core.errors import Invalid
from coordinator.core.health_records import Health
from coordinator.core.ids import HostId
from coordinator.core.model import NodeState
from coordinator.paging import NodeQuery
from coordinator.views import HostView, JobDetail, JobView, OverviewView
from coordinator.web import shape
from coordinator.web.delta import Document
from coordinator.web.summary import Summary, summarise

VERSION = 1
MAX_LIMIT = 500
MAX_BROKEN_LINKS = 50
MAX_NETWORK_HOSTS = 200
MAX_HOST_EVENTS = 5


@dataclass(frozen=True, slots=True)
class Page:
    """Which part to show: items with ``query`` in their words, from the given positions on, at most ``limit``."""

    query: str = ""
    hosts_from: int = 0
    jobs_from: int = 0
    nodes_from: int = 0
    limit: int = 50
    state: str = ""


def parse_page(query: Mapping[str, str]) -> Page:
    """The page asked for by URL parameters. Raises Invalid for what is no number or state."""
    state = query.get("state", "")
    if state and state not in {known.value for known in NodeState}:
        raise Invalid(f"state '{state}' is no node state; use one of {', '.join(known.value for known in NodeState)}")
    return Page(
        query=query.get("q", "").strip().lower()[:100],
        hosts_from=_number(query, "hosts_from", 0, 0, 10_000_000),
        jobs_from=_number(query, "jobs_from", 0, 0, 10_000_000),
        nodes_from=_number(query, "nodes_from", 0, 0, 10_000_000),
        limit=_number(query, "limit", 50, 1, MAX_LIMIT),
        state=state,
    )


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,8}", text) or not low <= int(text) <= high:
        raise Invalid(f"{name}={text[:40]!r} is not a number from {low} to {high}; leave it out for {default}")
    return int(text)


def overview(view: OverviewView, page: Page) -> Document:
    """The cluster as one document: counts of everything, and a page of hosts and jobs."""
    summary = summarise(view)
    hosts = [host for host in view.hosts if _host_matches(host, page.query)] if page.query else list(view.hosts)
    jobs = [job for job in view.jobs if _job_matches(job, page.query)] if page.query else list(view.jobs)
    hosts_shown = heapq.nsmallest(page.hosts_from + page.limit, hosts, key=_host_order)[page.hosts_from :]
    events = _events(view, {host.host.id for host in hosts_shown})
    jobs_shown = heapq.nsmallest(page.jobs_from + page.limit, jobs, key=_job_order)[page.jobs_from :]
    return {
        "version": VERSION,
        "summary": _summary(summary),
        "gpu_models": [_model_fields(model) for model in summary.gpu_models],
        "networks": [_cut_network(shape.network(network)) for network in view.networks[: page.limit]],
        "networks_total": len(view.networks),
        "hosts": [_host(host, events.get(host.host.id, [])) for host in hosts_shown],
        "hosts_total": len(hosts),
        "hosts_from": page.hosts_from,
        "jobs": [shape.job(job) for job in jobs_shown],
        "jobs_total": len(jobs),
        "jobs_from": page.jobs_from,
        "limit": page.limit,
    }


def _host(view: HostView, events: list[Any]) -> dict[str, Any]:
    """A host with its events; of its GPUs' health only what there is to say, for most are healthy: the reasons, without
    what holds."""
    told = shape.host(view)
    for gpu in told["hardware"]["gpus"] if told["hardware"] else ():
        del gpu["conditions"]
    ordinary = (Health.HEALTHY.value, Health.UNKNOWN.value)
    bad = [record for record in told["gpu_health"] if record["state"] not in ordinary]
    return {**told, "gpu_health": bad, "events": events}


def _events(view: OverviewView, hosts: set[HostId]) -> dict[HostId, list[Any]]:
    """The last few events of each host that is shown, the newest first."""
    found: dict[HostId, list[Any]] = {}
    for event in reversed(view.events):
        known = found.setdefault(event.host_id, []) if event.host_id in hosts else []
        if event.host_id in hosts and len(known) < MAX_HOST_EVENTS:
            known.append(shape.event(event))
    return found


def job(detail: JobDetail, page: Page) -> Document:
    """One job as a document: all its counts, and the page of nodes that ``nodes_of`` asked for."""
    return {
        "version": VERSION,
        "job": shape.job(detail.job),
        "nodes": [shape.node(node) for node in detail.nodes],
        "nodes_total": detail.total,
        "nodes_from": page.nodes_from,
        "limit": page.limit,
    }


def nodes_of(page: Page) -> NodeQuery:
    """The nodes that a page of one job shows, of those that were placed at least once."""
    states = frozenset({NodeState(page.state)} if page.state else ())
    return NodeQuery(states, text=page.query, skip=page.nodes_from, limit=page.limit, counted=True)


def _summary(summary: Summary) -> Document:
    return {
        "hosts": summary.hosts,
        "hosts_cordoned": summary.hosts_cordoned,
        "jobs": summary.jobs,
        "nodes": summary.nodes,
        "gpus": summary.gpus,
        "gpus_used": summary.gpus_used,
        "gpus_broken": summary.gpus_broken,
        "cpus": summary.cpus,
        "cpus_used": summary.cpus_used,
        "memory_bytes": summary.memory_bytes,
        "memory_used_bytes": summary.memory_used_bytes,
    }


def _model_fields(model: Any) -> Document:
    names = ("name", "total", "used", "broken", "memory_bytes", "utilization_percent")
    return {name: getattr(model, name) for name in names}


def _cut_network(network: Document) -> Document:
    """Counts beside lists that are cut: a network of thousands has too many pairs to show."""
    hosts, links = network["host_names"], network["broken_links"]
    return {
        "name": network["name"],
        "host_names": hosts[:MAX_NETWORK_HOSTS],
        "hosts_total": len(hosts),
        "broken_links": links[:MAX_BROKEN_LINKS],
        "broken_links_total": len(links),
    }


def _host_order(view: HostView) -> tuple[list[tuple[int, str]], str]:
    # gpu-2 before gpu-10.
    parts = re.findall(r"\d{1,15}|\D+", view.host.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], view.host.id


def _job_order(view: JobView) -> tuple[bool, int]:
    return view.job.state.ended, -view.job.number


def _host_matches(view: HostView, query: str) -> bool:
    facts, host = view.host.facts, view.host
    words = (host.name, host.id, host.state.value, facts.backend, facts.region, view.network)
    return any(query in word.lower() for word in words)


def _job_matches(view: JobView, query: str) -> bool:
    job = view.job
    return any(query in word.lower() for word in (job.name, job.id, job.user, job.state.value))
