"""The metrics, read back with prometheus-client's own parser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from coordinator.core.health_records import GpuHealth, Health, HostHealth
from coordinator.core.model import HostState, JobState
from tests.fakes.reader import gpu, host, job
from tests.fakes.site import AUTHORIZED, Site
from tests.unit.web.test_http import visit

pytestmark = pytest.mark.timeout(30)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def _scrape(client: ClientSession) -> Samples:
    async with client.get("/metrics", headers=AUTHORIZED) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        families = text_string_to_metric_families(await answer.text())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"rallypoint_{name}", frozenset(labels.items())))


def test_counts_of_the_cluster(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_host(replace(host(1, gpus=(gpu(0), gpu(1))), cpus_used=3, gpus_used=(gpu(1).uuid,)))
        await site.reader.put_host(host(2, state=HostState.LOST, gpus=(gpu(0),)))
        await site.reader.put_job(job(1, JobState.QUEUED, nodes=7))
        samples = await _scrape(client)
        assert _value(samples, "info", version="1.2.3") == 1
        assert _value(samples, "hosts", state="online") == 1
        assert _value(samples, "hosts", state="lost") == 1
        assert _value(samples, "hosts", state="suspect") == 0
        assert (_value(samples, "cpus"), _value(samples, "cpus_used")) == (32, 3)
        assert (_value(samples, "gpus"), _value(samples, "gpus_used")) == (2, 1)
        assert _value(samples, "jobs", state="queued") == 1
        assert _value(samples, "nodes", state="pending") == 7

    visit(tmp_path, use)


def test_the_health_of_gpus(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        cards = (gpu(0, watched=True, fenced="is quarantined"), gpu(1, watched=True), gpu(2))
        bad = GpuHealth(gpu(0).uuid, Health.QUARANTINED, "it is old")
        view = host(1, gpus=cards)
        await site.reader.put_host(replace(view, health=HostHealth(view.host.id, gpus=(bad,))))
        samples = await _scrape(client)
        for card, state in zip(cards, ("quarantined", "healthy", "unknown"), strict=True):
            assert _value(samples, "gpu_health", host="node-1", gpu=card.uuid, state=state) == 1
        assert len([name for name, _ in samples if name == "rallypoint_gpu_health"]) == 3
        assert (_value(samples, "gpu_breaker"), _value(samples, "gpus_broken")) == (0, 1)

    visit(tmp_path, use)


def test_what_is_unknown_of_a_gpu_has_no_sample(tmp_path: Path) -> None:
    async def use(site: Site, client: ClientSession) -> None:
        half = gpu(1, utilization_percent=None, power_watts=None, problem="fell off the bus")
        await site.reader.put_host(replace(host(1, gpus=(gpu(0), half)), round_trip=0.25))
        await site.reader.put_host(host(3, "silent"))
        await site.reader.put_host(host(2, "gone", state=HostState.LOST, gpus=(gpu(0),)))
        samples = await _scrape(client)
        first = {"host": "node-1", "gpu": "0", "uuid": gpu(0).uuid, "model": gpu(0).name}
        second = {**first, "gpu": "1", "uuid": half.uuid}
        assert _value(samples, "gpu_utilization_ratio", **first) == 0.97
        assert _value(samples, "gpu_temperature_celsius", **first) == 64
        assert _value(samples, "gpu_usable", **first) == 1
        assert _value(samples, "gpu_utilization_ratio", **second) is None
        assert _value(samples, "gpu_power_watts", **second) is None
        assert _value(samples, "gpu_usable", **second) == 0
        assert _value(samples, "host_round_trip_seconds", host="node-1") == 0.25
        assert not any({("host", "gone"), ("host", "silent")} & labels for _, labels in samples)

    visit(tmp_path, use)


def test_requests_are_counted_and_nothing_is_global(tmp_path: Path) -> None:
    before = {family.name for family in REGISTRY.collect()}

    async def use(_: Site, client: ClientSession) -> None:
        async with client.get("/api/nothing", headers=AUTHORIZED):
            pass
        async with client.post("/login", data={"token": "wrong"}):
            pass
        samples = await _scrape(client)
        assert _value(samples, "http_requests_total", code="404") == 1
        assert _value(samples, "http_requests_total", code="403") == 1
        assert _value(samples, "http_wrong_tokens") == 1
        assert _value(samples, "http_streams") == 0
        async with client.get("/api/events", headers=AUTHORIZED):
            assert _value(await _scrape(client), "http_streams") == 1

    visit(tmp_path, use)
    assert {family.name for family in REGISTRY.collect()} == before
