"""What real nodes cost: seen by their users, held to a budget, and nothing of it lost when the coordinator dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.client import Client
from coordinator.core.spec import JobSpec, Placement
from coordinator.wire import spec_to_pb
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# A dollar a second for the whole host: half of it for each CPU.
PRICE = ("--price", "3600")
TWO_CPUS = ("--cpus", "2", "--peer-listen", "127.0.0.1:0")


def spent(cluster: Cluster, job: str) -> float:
    usd: float = cluster.run("show", job, "--json").json["job"]["spent"]
    return usd


def test_a_job_is_stopped_when_its_budget_is_spent_and_the_ledger_outlives_the_coordinator(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster:
        cluster.add("one", join=["--backend", "cloud", *PRICE], run=TWO_CPUS)
        with Client.from_context(cluster.context) as client:
            spec = JobSpec(argv=("sleep", "600"), placement=Placement.ANY, budget=2.0, stop_duration=5.0)
            job = client.submit(spec_to_pb(spec)).id
        eventually(lambda: spent(cluster, job) > 0.2, what="something spent")
        assert cluster.run("ps").text.splitlines()[0].split()[-2:] == ["COST", "REASON"]
        cluster.coordinator.kill()
        cluster.start()
        assert cluster.wait(job, timeout=60) == 123
        ended = cluster.run("show", job, "--json").json["job"]
        assert ended["state"] == "failed"
        assert ended["reason"].startswith("its budget of 2.00 USD is spent: 2.0")
        # Wide, for a loaded machine: the budget, and what the stop took.
        assert 1.99 < ended["spent"] < 2.0 + 0.5 * 20
        costs = cluster.run("cost", "--by", "backend", "--json").json
        assert [(each["name"], each["attempts"]) for each in costs["costs"]] == [("cloud", 1)]
        assert costs["total"]["usd"] == pytest.approx(ended["spent"], abs=0.001)
        again = cluster.run("cost", "--by", "job", "--user", "admin", "--json").json["costs"]
        assert [(each["name"], each["user"]) for each in again] == [(job, "admin")]
