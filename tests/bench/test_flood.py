"""100 MB/s of output for a minute, with the limits that an agent and a coordinator have by default.

``RALLYPOINT_FLOOD_SECONDS`` is another time than a minute.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench.conftest import running
from tests.bench.flood import MB, flood, report
from tests.bench.results import Figure, Results, percentile

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("RALLYPOINT_FLOOD_SECONDS", "60"))
KEPT_MB = 256


@pytest.mark.parametrize("nodes", [1, 4])
def test_a_flood(tmp_path: Path, results: Results, nodes: int) -> None:
    with running(tmp_path, 1, ["--cpus", "8"]) as cluster:
        found = flood(cluster, "h1", nodes, SECONDS)
    print(report(found))
    name = f"{nodes} × 100 MB/s for {SECONDS:g} s"
    assert found.kept + found.dropped == found.written
    assert found.states == {"HOST_STATE_ONLINE"}
    results.add(Figure(f"{name}: written", found.written / MB, "MB"))
    results.add(Figure(f"{name}: calls beside it, p99", percentile(found.calls, 0.99) * 1e3, "ms", 1000))
    results.add(Figure(f"{name}: jobs beside it, submit → end, p99", percentile(found.jobs, 0.99) * 1e3, "ms", 1000))
    results.add(Figure(f"{name}: memory of the agent and its spawner grew", found.watch.grown("agent") / MB, "MB", 64))
    results.add(Figure(f"{name}: memory of the coordinator grew", found.watch.grown("coordinator") / MB, "MB", 128))
    results.add(Figure(f"{name}: CPU of the agent", found.watch.cpu["agent"], "cores", 0.5))
    results.add(Figure(f"{name}: longest write of a node", found.slowest_write * 1e3, "ms"))
    # What is written between two looks comes on top.
    most = nodes * (KEPT_MB + 100)
    results.add(Figure(f"{name}: host's disk, most", found.watch.most_disk["agent"] / MB, "MB", most))
    most = nodes * (KEPT_MB + 4)
    results.add(Figure(f"{name}: coordinator's disk, most", found.watch.most_disk["coordinator"] / MB, "MB", most))
