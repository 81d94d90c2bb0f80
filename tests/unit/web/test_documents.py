"""Documents are cut to a page, found by words, and followed by their differences."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.errors import Invalid
from coordinator.core.model import HostState, JobState, NodeState
from coordinator.paging import choose
from coordinator.views import JobDetail, NetworkView, OverviewView
from coordinator.web import documents
from coordinator.web.delta import KEYS, Document, difference
from coordinator.web.documents import Page, parse_page
from coordinator.web.summary import summarise
from tests.fakes.reader import gpu, host, job, node


def test_a_large_fleet_gives_a_small_document() -> None:
    hosts = tuple(host(n, gpus=tuple(gpu(i) for i in range(8))) for n in range(1000))
    jobs = tuple(job(n, JobState.DONE) for n in range(10_000))
    networks = (NetworkView("a", tuple(h.host.name for h in hosts), tuple(f"link {n}" for n in range(5000))),)
    document = documents.overview(OverviewView(hosts, networks, jobs), Page())
    assert len(document["hosts"]) == len(document["jobs"]) == 50
    assert (document["hosts_total"], document["jobs_total"]) == (1000, 10_000)
    assert document["networks"][0]["hosts_total"] == 1000
    assert document["networks"][0]["broken_links_total"] == 5000
    assert document["summary"]["gpus"] == 8000
    assert len(json.dumps(document)) < 300_000


def test_active_jobs_come_first_then_the_newest_and_hosts_in_natural_order() -> None:
    jobs = (job(1, JobState.QUEUED), job(2, JobState.DONE), job(3, JobState.FAILED), job(4))
    hosts = tuple(host(n, f"gpu-{n}") for n in (10, 9, 1))
    document = documents.overview(OverviewView(hosts, (), jobs), Page())
    assert [item["id"] for item in document["jobs"]] == ["j-4", "j-1", "j-3", "j-2"]
    assert [item["name"] for item in document["hosts"]] == ["gpu-1", "gpu-9", "gpu-10"]


def test_pages_turn_and_words_find() -> None:
    view = OverviewView(tuple(host(n) for n in range(5)), (), tuple(job(n) for n in range(5)))
    second = documents.overview(view, Page(hosts_from=2, limit=2))
    assert [item["name"] for item in second["hosts"]] == ["node-2", "node-3"]
    found = documents.overview(view, Page(query="job-3"))
    assert [item["name"] for item in found["jobs"]] == ["job-3"]
    assert (found["hosts"], found["hosts_total"]) == ([], 0)
    assert found["summary"]["hosts"]["online"] == 5


def test_a_page_of_nodes_by_position_state_and_host() -> None:
    of = job(1, nodes=500)
    nodes = {rank: node(of, rank, NodeState.FAILED if rank == 400 else NodeState.RUNNING) for rank in range(500)}

    def document(page: Page) -> Document:
        found = choose(nodes, documents.nodes_of(page), lambda view: (view.node, view.host_name))
        return documents.job(JobDetail(of, found.nodes, found.next_rank, found.total), page)

    assert [n["rank"] for n in document(Page(nodes_from=498))["nodes"]] == [498, 499]
    assert document(Page(nodes_from=498, limit=1))["nodes_total"] == 500
    assert [n["rank"] for n in document(Page(state="failed"))["nodes"]] == [400]
    assert document(Page(query="no-such-host"))["nodes_total"] == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": "0"}, "limit='0' is not a number from 1 to 500"),
        ({"limit": "501"}, "from 1 to 500"),
        ({"hosts_from": "-1"}, "hosts_from='-1'"),
        ({"jobs_from": "²"}, "jobs_from='²'"),
        ({"state": "asleep"}, "state 'asleep' is no node state"),
    ],
)
def test_wrong_parameters_are_named(query: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words.replace("(", "\\(")):
        parse_page(query)


def test_capacity_counts_hosts_in_contact_only() -> None:
    lost = replace(host(2, state=HostState.LOST, gpus=(gpu(0),)), cpus_used=4)
    here = replace(host(1, gpus=(gpu(0), gpu(1, problem="fell off the bus"))), cpus_used=2, gpus_used=(gpu(0).uuid,))
    summary = summarise(OverviewView((here, lost), (), (job(1), job(2, JobState.QUEUED, nodes=3))))
    assert (summary.cpus, summary.cpus_used) == (32, 2)
    assert (summary.gpus, summary.gpus_used, summary.gpus_broken) == (2, 1, 1)
    assert (summary.hosts["online"], summary.hosts["lost"]) == (1, 1)
    assert (summary.nodes["running"], summary.nodes["pending"]) == (4, 3)


def test_utilisation_of_a_model_is_the_mean_of_what_is_known() -> None:
    gpus = (gpu(0, utilization_percent=50.0), gpu(1, utilization_percent=100.0), gpu(2, utilization_percent=None))
    model = summarise(OverviewView((host(1, gpus=gpus),), (), ())).gpu_models[0]
    assert model.utilization_percent == 75.0
    unknown = summarise(OverviewView((host(1, gpus=gpus[2:]),), (), ())).gpu_models[0]
    assert unknown.utilization_percent is None


ITEMS = st.dictionaries(st.integers(0, 5), st.integers(0, 2)).map(
    lambda values: [{"id": f"i-{key}", "value": value} for key, value in values.items()]
)
DOCUMENTS = st.fixed_dictionaries({"version": st.just(1), "total": st.integers(0, 3), "hosts": ITEMS, "jobs": ITEMS})


@given(DOCUMENTS, DOCUMENTS)
def test_a_document_and_its_difference_give_the_next(before: Document, after: Document) -> None:
    change = difference(before, after)
    assert _merge(before, change) == after
    assert (change == {}) == (before == after)
    assert _merge({}, difference({}, after)) == after


def _merge(before: Document, change: Document) -> Document:
    """What the page's ``merge`` does."""
    after: dict[str, Any] = {**before}
    for name, value in change.items():
        if name in KEYS and isinstance(value, dict):
            items = {item[KEYS[name]]: item for item in before[name]}
            items.update({item[KEYS[name]]: item for item in value["changed"]})
            after[name] = [items[key] for key in value.get("order", [item[KEYS[name]] for item in before[name]])]
        else:
            after[name] = value
    return after
