"""What a user sees and does, in a real browser: signing in, live hosts and jobs, live output, a phone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.health_records import GpuHealth, Health, HostEvent, HostHealth
from coordinator.core.model import HostState, JobState, NodeState
from coordinator.views import NetworkView
from tests.browser.conftest import RunningSite
from tests.fakes.reader import GIB, NOW, gpu, host, job, node

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]


def _shoot(page: Any, name: str) -> None:
    """Keep a picture when ``RALLYPOINT_TEST_SCREENSHOTS`` names a folder."""
    folder = os.environ.get("RALLYPOINT_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def _overflow(page: Any) -> int:
    overflow: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return overflow


def _fill(site: RunningSite) -> None:
    """A cluster with a bit of everything."""
    names = ("gpu-a1", "gpu-a2", "cpu-b1", "rented-7", "new-box")
    busy = tuple(gpu(i, utilization_percent=97.0 - 31 * i) for i in range(3))
    broken = gpu(3, problem="fell off the bus (XID 79); restart the host")
    a1 = replace(host(1, names[0], gpus=(*busy, broken)), cpus_used=24, memory_used_bytes=180 * GIB, network="net-a")
    a1 = replace(a1, gpus_used=tuple(g.uuid for g in busy[:2]), allocations=("j-1.0.1", "j-1.1.1"))
    why = "XID 48, Double Bit ECC Error (NVIDIA asks for a reset of the GPU)"
    bad = GpuHealth(busy[2].uuid, Health.QUARANTINED, why)
    a1 = replace(a1, health=HostHealth(a1.host.id, gpus=(bad,)))
    site.reader.events = (HostEvent(1, NOW, a1.host.id, names[0], "health", f"GPU 2: draining -> quarantined: {why}"),)
    unknown = gpu(
        0, "NVIDIA L4", utilization_percent=None, memory_used_bytes=None, temperature_celsius=None, power_watts=None
    )
    a2 = replace(host(2, names[1], gpus=(unknown,)), network="net-a", cpus_used=4, memory_used_bytes=8 * GIB)
    b1 = replace(
        host(3, names[2], HostState.SUSPECT), network="net-b", warning="named network 'net-c', but seen in net-b"
    )
    lost = host(4, names[3], HostState.LOST, gpus=(gpu(0),))
    new = host(5, names[4], HostState.OFFLINE)
    new = replace(new, host=replace(new.host, hardware=None))
    for view in (a1, a2, b1, lost, new):
        site.do(site.reader.put_host(view))
    site.do(
        site.reader.put_networks(
            NetworkView("net-a", names[:2], ("gpu-a1 -> gpu-a2 at 10.0.0.2:7000: timed out after 3 s",)),
            NetworkView("net-b", names[2:3], ()),
        )
    )
    running = job(1, nodes=4, name="train-digits")
    nodes = [node(running, rank, gpus=(f"GPU-{rank}",), log_bytes=2048 * rank) for rank in range(3)]
    nodes.append(node(running, 3, NodeState.FAILED, exit_code=137, reason="killed: out of memory"))
    counts = replace(running.counts, running=3, failed=1)
    site.do(site.reader.put_job(replace(running, counts=counts), *nodes))
    reason = "waits for GPUs: needs 8 on one host, the most that is free is 2 (gpu-a1)"
    site.do(site.reader.put_job(job(2, JobState.QUEUED, nodes=2, name="big-one", reason=reason, started_at=0.0)))
    site.do(site.reader.put_job(job(3, JobState.DONE, nodes=24, name="search", exit_code=0, ended_at=1_790_000_093.0)))
    failed = job(4, JobState.FAILED, name="mpi", exit_code=3, reason="rank 2 ended with 3", ended_at=1_790_000_007.0)
    site.do(site.reader.put_job(failed))


def test_a_wrong_token_is_refused_and_a_good_one_leads_back(page: Any, site: RunningSite) -> None:
    site.do(site.reader.put_job(job(1)))
    page.goto("/jobs/j-1")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    assert "unknown, expired or revoked" in page.inner_text("[role=alert]")
    _shoot(page, "login")
    page.fill("#token", next(iter(site.users)))
    page.keyboard.press("Enter")
    page.wait_for_selector("#job h1")
    assert page.url.endswith("/jobs/j-1")
    assert page.evaluate("document.cookie") == ""


def test_an_empty_cluster_says_how_to_begin(signed_in: Any) -> None:
    assert "coordinator token create" in signed_in.inner_text("#hosts")
    assert "agent join 127.0.0.1:7070 --token-file token" in signed_in.inner_text("#hosts")
    assert "coordinator submit" in signed_in.inner_text("#jobs")
    _shoot(signed_in, "empty")


def test_hosts_and_jobs_change_without_a_reload(signed_in: Any, site: RunningSite) -> None:
    signed_in.evaluate("window.stillTheSamePage = true")
    site.do(site.reader.put_host(host(1, "alpha")))
    signed_in.wait_for_selector("[data-host=h-1] .badge[data-state=online]")
    site.do(site.reader.put_job(job(1, JobState.QUEUED, reason="waits for 2 GPUs")))
    signed_in.wait_for_selector("[data-job=j-1] .badge[data-state=queued]")
    assert "waits for 2 GPUs" in signed_in.inner_text("[data-job=j-1]")
    site.do(site.reader.put_host(host(1, "alpha", HostState.LOST)))
    site.do(site.reader.put_job(job(1, JobState.RUNNING)))
    signed_in.wait_for_selector("[data-host=h-1] .badge[data-state=lost]")
    signed_in.wait_for_selector("[data-job=j-1] .badge[data-state=running]")
    assert signed_in.evaluate("window.stillTheSamePage")


def test_the_overview_tells_everything_there_is(signed_in: Any, site: RunningSite) -> None:
    _fill(site)
    signed_in.wait_for_selector("[data-job=j-4]")
    first = signed_in.inner_text("[data-host=h-1]")
    assert "97 %" in first
    assert "fell off the bus" in first
    assert "61 of 80 GiB" in first
    sick = signed_in.inner_text(f"[data-host=h-1] [data-gpu='{gpu(2).uuid}']")
    assert "quarantined" in sick
    assert "XID 48" in sick
    signed_in.click("[data-host=h-1] summary:has-text('Events')")
    assert "draining -> quarantined" in signed_in.inner_text("[data-host=h-1] [data-event]")
    assert "health unknown" in signed_in.inner_text("[data-host=h-2]")
    assert "10.0.0.2:7000: timed out" in signed_in.inner_text("#networks")
    assert "needs 8 on one host" in signed_in.inner_text("[data-job=j-2]")
    _shoot(signed_in, "overview-light")
    signed_in.emulate_media(color_scheme="dark")
    _shoot(signed_in, "overview-dark")
    signed_in.fill("#query", "search")
    signed_in.wait_for_selector("#hosts .empty")
    assert signed_in.locator("#jobs tbody tr").count() == 1


def test_the_nodes_of_a_search_have_a_column_for_each_parameter(signed_in: Any, site: RunningSite) -> None:
    search = job(1, nodes=2)
    site.do(site.reader.put_job(search, node(search, 0)))
    signed_in.goto("/jobs/j-1")
    signed_in.wait_for_selector("[data-rank='0']")
    second = replace(node(search, 1), parameters={"lr": "1e-4", "seed": "<b>7</b>"})
    site.do(site.reader.put_job(search, second))
    signed_in.wait_for_selector("[data-rank='1']")
    titles = signed_in.locator("thead th").all_inner_texts()
    assert [title.lower() for title in titles[:4]] == ["rank", "lr", "seed", "state"]
    assert signed_in.locator("[data-rank='1'] td").all_inner_texts()[1:3] == ["1e-4", "<b>7</b>"]
    assert signed_in.locator("[data-rank='0'] td").all_inner_texts()[1:3] == ["–", "–"]


def test_details_stay_open_and_focus_stays_when_a_host_changes(signed_in: Any, site: RunningSite) -> None:
    site.do(site.reader.put_host(host(1)))
    signed_in.click("[data-host=h-1] summary")
    signed_in.wait_for_selector("[data-host=h-1] details[open]")
    site.do(site.reader.put_host(replace(host(1), cpus_used=9)))
    signed_in.wait_for_selector("[data-host=h-1] >> text=9 of 32 held")
    assert signed_in.locator("[data-host=h-1] details[open]").count() == 1
    assert signed_in.evaluate("document.activeElement.tagName") == "SUMMARY"


@pytest.mark.parametrize("path", ["/", "/jobs/j-1", "/login", "/nothing"])
def test_nothing_overflows_on_a_phone(signed_in: Any, site: RunningSite, path: str) -> None:
    _fill(site)
    long = "x" * 300
    site.do(site.reader.put_host(host(9, f"host-{long}", gpus=(gpu(0, long),))))
    site.do(site.reader.put_job(job(9, name=f"job-{long}", reason=long)))
    site.do(site.logs.append("j-1", 0, (long * 10).encode()))
    signed_in.set_viewport_size({"width": 360, "height": 740})
    signed_in.goto(path)
    if path in ("/", "/jobs/j-1"):
        signed_in.wait_for_selector("#live[data-state=ok]")
        signed_in.wait_for_selector("[data-job=j-9]" if path == "/" else "[data-rank='3']")
    _shoot(signed_in, f"phone{path.replace('/', '-')}")
    assert _overflow(signed_in) <= 0


def test_the_page_reconnects_by_itself(signed_in: Any, site: RunningSite) -> None:
    signed_in.context.set_offline(True)
    signed_in.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    signed_in.wait_for_selector("#live[data-state=bad]")
    site.do(site.reader.put_host(host(1)))
    signed_in.context.set_offline(False)
    signed_in.wait_for_selector("[data-host=h-1]", timeout=15_000)
    signed_in.wait_for_selector("#live[data-state=ok]")


def test_signing_out_ends_it(signed_in: Any) -> None:
    signed_in.click("text=Sign out")
    signed_in.wait_for_selector("#token")
    signed_in.goto("/")
    assert signed_in.url.endswith("/login")
    assert signed_in.evaluate("fetch('/api/overview').then(answer => answer.status)") == 401
