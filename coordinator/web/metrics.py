"""Prometheus metrics: gauges from one snapshot of the engine, counters of the web itself. Nothing global."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from coordinator.core.hardware import Gpu
from coordinator.core.health_marks import standings
from coordinator.views import HostView, OverviewView, Reader
from coordinator.web.auth import Auth
from coordinator.web.stream import Streams
from coordinator.web.summary import IN_CONTACT, Summary, summarise

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GPU_LABELS = ("host", "gpu", "uuid", "model")


class Metrics:
    """The ``/metrics`` handler. ``registry`` may hold counters of other parts; they are shown too."""

    def __init__(self, reader: Reader, version: str, registry: CollectorRegistry | None = None) -> None:
        self._reader = reader
        self._version = version
        self._others = registry
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rallypoint_http_requests", "Answered HTTP requests.", ("code",), registry=self._registry
        )

    def count(self, status: int) -> None:
        """Count an answered request."""
        self._requests.labels(str(status)).inc()

    def watch(self, auth: Auth, streams: Streams) -> None:
        """Also show the web's own gauges."""
        self._registry.register(_Web(auth, streams))

    async def get(self, _: web.Request) -> web.Response:
        """All metrics in the text format."""
        # In a thread, as all that is slow for a large fleet: the coordinator goes on meanwhile.
        cluster = await asyncio.to_thread(_render, await self._reader.overview(), self._version)
        parts = [cluster, generate_latest(self._registry)]
        if self._others is not None:
            parts.append(generate_latest(self._others))
        return web.Response(body=b"".join(parts), headers={"Content-Type": _CONTENT_TYPE})


def _render(view: OverviewView, version: str) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Cluster(view, version))
    return generate_latest(registry)


class _Web(Collector):
    def __init__(self, auth: Auth, streams: Streams) -> None:
        self._auth = auth
        self._streams = streams

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("rallypoint_http_streams", "Open live views.", self._streams.open)
        yield _gauge("rallypoint_http_wrong_tokens", "Wrong tokens shown since the start.", self._auth.failures)


class _Cluster(Collector):
    def __init__(self, view: OverviewView, version: str) -> None:
        self._view = view
        self._version = version

    def collect(self) -> Iterator[GaugeMetricFamily]:
        summary = summarise(self._view)
        info = GaugeMetricFamily("rallypoint_info", "Always 1; the label tells the version.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        yield _by_state("rallypoint_hosts", "Hosts by state.", summary.hosts)
        yield _by_state("rallypoint_jobs", "Jobs by state.", summary.jobs)
        yield _by_state("rallypoint_nodes", "Nodes of all jobs by state.", summary.nodes)
        yield from _totals(summary)
        yield _round_trips(self._view.hosts)
        yield from _gpu_gauges(self._view.hosts)
        yield _health(self._view.hosts)
        yield _gauge("rallypoint_gpu_breaker", "1 while no more hosts are fenced for bad GPUs.", self._view.breaker)


def _totals(summary: Summary) -> Iterator[GaugeMetricFamily]:
    seen = "of hosts in contact."
    yield _gauge("rallypoint_hosts_cordoned", "Hosts that take no new work.", summary.hosts_cordoned)
    yield _gauge("rallypoint_cpus", f"CPUs {seen}", summary.cpus)
    yield _gauge("rallypoint_cpus_used", f"CPUs held by allocations, {seen}", summary.cpus_used)
    yield _gauge("rallypoint_memory_bytes", f"Memory {seen}", summary.memory_bytes)
    yield _gauge("rallypoint_memory_used_bytes", f"Memory held by allocations, {seen}", summary.memory_used_bytes)
    yield _gauge("rallypoint_gpus", f"GPUs {seen}", summary.gpus)
    yield _gauge("rallypoint_gpus_used", f"GPUs held by allocations, {seen}", summary.gpus_used)
    yield _gauge("rallypoint_gpus_broken", f"GPUs that can't be used, {seen}", summary.gpus_broken)


def _round_trips(hosts: tuple[HostView, ...]) -> GaugeMetricFamily:
    help_ = "What calls of hosts in contact take, in the middle of the last ones."
    family = GaugeMetricFamily("rallypoint_host_round_trip_seconds", help_, labels=["host"])
    for host in hosts:
        if host.host.state in IN_CONTACT and host.round_trip is not None:
            family.add_metric([host.host.name], host.round_trip)
    return family


def _gpu_gauges(hosts: tuple[HostView, ...]) -> Iterator[GaugeMetricFamily]:
    """Per GPU of hosts in contact. What is unknown has no sample: an old or invented value would mislead."""
    names = {
        "utilization_ratio": "Utilisation, 0 to 1.",
        "memory_bytes": "Memory.",
        "memory_used_bytes": "Memory in use.",
        "temperature_celsius": "Temperature.",
        "power_watts": "Power drawn.",
        "power_limit_watts": "Power limit.",
        "usable": "1 if jobs can use it, 0 if it has a problem or is fenced.",
    }
    families = {
        name: GaugeMetricFamily(f"rallypoint_gpu_{name}", help_, labels=_GPU_LABELS) for name, help_ in names.items()
    }
    for host in hosts:
        if host.host.state not in IN_CONTACT or host.host.hardware is None:
            continue
        for gpu in host.host.hardware.gpus:
            labels = (host.host.name, str(gpu.index), gpu.uuid, gpu.name)
            for name, value in _values(gpu).items():
                if value is not None:
                    families[name].add_metric(labels, value)
    yield from families.values()


def _health(hosts: tuple[HostView, ...]) -> GaugeMetricFamily:
    help_ = "1 for the state that a GPU is in; without a uuid: the host's GPU driver and bus."
    family = GaugeMetricFamily("rallypoint_gpu_health", help_, labels=["host", "gpu", "state"])
    for host in hosts:
        if host.host.state not in IN_CONTACT:
            continue
        for record in standings(host.host, host.health):
            family.add_metric([host.host.name, record.gpu, record.state.value], 1)
    return family


def _values(gpu: Gpu) -> dict[str, float | None]:
    return {
        "utilization_ratio": None if gpu.utilization_percent is None else gpu.utilization_percent / 100,
        "memory_bytes": gpu.memory_bytes,
        "memory_used_bytes": gpu.memory_used_bytes,
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
        "power_limit_watts": gpu.power_limit_watts,
        "usable": 0 if gpu.problem is not None or gpu.fenced else 1,
    }


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, value=value)


def _by_state(name: str, help_: str, counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family
