"""A host is drained under real nodes: they end by their signal and go on elsewhere, and the host can be taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# Says goodbye when it is asked to end, so that the signal is seen, and what it did.
POLITE = "trap 'echo bye; exit 0' TERM; echo began; while true; do sleep 0.1; done"
HOST = ["--cpus", "1", "--peer-listen", "127.0.0.1:0"]


def hosts_of(cluster: Cluster, job: str) -> list[tuple[str, str, int]]:
    return [(node["host_name"], node["state"], node["attempt"]) for node in cluster.nodes(job)]


def test_work_leaves_a_drained_host_by_its_deadline_even_if_the_coordinator_dies_meanwhile(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster:
        cluster.add("one", run=HOST)
        job = cluster.shell(POLITE, "--name", "polite", "--placement", "any", "--stop-duration", "30s")
        cluster.await_output(job, 0, b"began")
        drained = cluster.run("host", "drain", "one", "--deadline", "4s", "--json").json["host"]
        assert drained["cordoned"]
        assert drained["warning"].startswith("draining: 1 node is left, to go by")
        cluster.coordinator.kill()
        cluster.start()
        cluster.add("two", run=HOST)
        eventually(lambda: hosts_of(cluster, job) == [("two", "running", 2)], timeout=60, what="the node on host two")
        first = ("logs", job, "--node", "0", "--attempt", "1")
        eventually(lambda: cluster.run(*first).out.endswith(b"bye\n"), what="the rest of what attempt 1 said")
        assert cluster.nodes(job)[0]["reason"] == "attempt 1 on one: host one is drained"
        assert cluster.hosts()["one"]["warning"] == "drained: nothing is left on it"
        cluster.run("host", "remove", "one")
        assert list(cluster.hosts()) == ["two"]
