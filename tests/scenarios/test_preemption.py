"""A job with a higher priority takes the place of one that may be preempted, which comes back afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from rallypoint.tls import prepare_grpc

prepare_grpc()

from rallypoint.v1 import types_pb2 as pb  # noqa: E402

from coordinator.client import Client  # noqa: E402
from tests.multihost.cluster import Cluster  # noqa: E402
from tests.multihost.processes import kill_all_under  # noqa: E402

pytestmark = pytest.mark.timeout(120)

# Saves what it has when it is told to stop, and begins where it was when it is started again.
SAVING = """
    trap 'sleep 0.3; touch "$HOME/saved"; echo saved; exit 0' TERM
    [ -e "$HOME/saved" ] && { echo resumed; exit 0; }
    echo ready
    while :; do sleep 0.05; done
"""


def submit(cluster: Cluster, script: str, **fields: object) -> str:
    """Submit a node that takes the whole host; the job's id."""
    spec = pb.JobSpec(argv=["sh", "-c", script], nodes=1, placement=pb.PLACEMENT_ANY, **fields)  # type: ignore[arg-type]
    spec.resources.cpus.min = 2
    with Client.from_context(cluster.context) as client:
        return client.submit(spec).id


def test_who_is_preempted_ends_in_its_own_time_and_comes_back(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        with cluster:
            cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--cpus", "2"])
            low = submit(cluster, SAVING, name="low", preemptible=True, priority=10)
            cluster.await_output(low, 0, b"ready")
            high = submit(cluster, "echo first; sleep 1000", name="high", priority=90)
            cluster.await_output(high, 0, b"first")
            # It was given the time that it took to save, and no place beside the other.
            assert cluster.logs(low, 0).endswith(b"saved\n")
            node = cluster.nodes(low)[0]
            assert node["state"] == "pending"
            assert node["reason"] == "preempted by job high (priority 90)"
            cluster.run("stop", high)
            assert cluster.wait(low) == 0
            node = cluster.nodes(low)[0]
            assert (node["attempt"], node["exit_code"]) == (2, 0)
            assert b"resumed\n" in cluster.logs(low, 0)
    finally:
        kill_all_under(cluster.folder)
