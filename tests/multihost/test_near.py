"""Where a job's data is decides where it runs: real distances, of lines with and without a delay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

DELAY = 0.1

TASK = """
type: task
placement: any
nodes: 2
optimize: {optimize}
near: {near}
resources: {{cpu: 1.., memory: 0.., disk: 0..}}
commands: [echo here]
"""


def test_a_job_runs_where_its_data_is_near_or_where_it_is_cheap_as_it_wants(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    lans = {"far": Lan("10.7.1", 1, DELAY), "close": Lan("10.7.2", 1)}
    with Site.open(lans, tmp_path / "site") as site, Cluster(tmp_path, HUB_ADDRESS, site.hub) as cluster:
        for name, price in (("far1", "1"), ("close1", "2")):
            cluster.add(name, site.hosts[name].enter, join=["--price", price], run=["--cpus", "4"])
        eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, what="both hosts online")
        near = f"http://{cluster.endpoints['api']}/data"
        for optimize, wanted in (("latency", "close1"), ("cost", "far1")):
            task = tmp_path / f"{optimize}.yml"
            task.write_text(TASK.format(optimize=optimize, near=near))
            job = cluster.submit(str(task))
            assert cluster.wait(job) == 0
            assert {node["host_name"] for node in cluster.nodes(job)} == {wanted}
