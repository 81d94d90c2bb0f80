"""A GPU shows a fault under a real node, told by the driver's stub: the node goes on elsewhere, and the GPU comes back
by way of a test. The coordinator dies in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml import h100, happen, host_env
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

RUNS = "trap '' TERM; echo on $CUDA_VISIBLE_DEVICES; while true; do sleep 0.1; done"


def health_of(cluster: Cluster, gpu: str) -> dict[str, Any]:
    told = cluster.hosts()["one"]["gpu_health"]
    return next((record for record in told if record["gpu_uuid"] == gpu), {"state": None})


def state_is(cluster: Cluster, gpu: str, state: str) -> Callable[[], bool]:
    return lambda: health_of(cluster, gpu)["state"] == state


def test_a_gpu_that_fails_is_left_and_comes_back_by_a_test(tmp_path: Path) -> None:
    cards = (h100(0), h100(1))
    env = host_env(tmp_path / "driver", cards)
    scenario = tmp_path / "driver" / "gpus"
    cluster = Cluster(tmp_path)
    with cluster:
        cluster.add("one", run=["--cpus", "2", "--peer-listen", "127.0.0.1:0"], env=env)
        eventually(state_is(cluster, str(cards[0].uuid), "healthy"), what="GPUs that are looked after")
        job = cluster.shell(RUNS, "--name", "runs", "--placement", "any", "--gpus", "1", "--stop-duration", "1h")
        cluster.await_output(job, 0, b"on GPU-")
        (bad,) = cluster.nodes(job)[0]["gpu_uuids"]
        (good,) = {str(card.uuid) for card in cards} - {bad}

        happen(scenario, gpu=[str(card.uuid) for card in cards].index(bad), xid=95)

        eventually(lambda: cluster.nodes(job)[0]["gpu_uuids"] == [good], what="the node on the other GPU")
        node = cluster.nodes(job)[0]
        assert node["attempt"] == 2
        assert "XID 95, Uncontained memory error (NVIDIA asks for a reset of the GPU)" in node["reason"]
        eventually(state_is(cluster, bad, "quarantined"), what="the GPU in quarantine")
        cluster.coordinator.kill()
        cluster.start()
        eventually(lambda: cluster.hosts()["one"]["state"] == "online", what="the host back in contact")
        assert health_of(cluster, bad)["state"] == "quarantined"
        assert "quarantined: XID 95" in cluster.hosts()["one"]["warning"]
        waits = cluster.shell("true", "--name", "waits", "--placement", "any", "--gpus", "1")
        assert "is quarantined: XID 95" in cluster.run("explain", waits).text

        cluster.run("host", "test", "one", "--gpu", bad)

        eventually(state_is(cluster, bad, "healthy"), timeout=60, what="a test that is passed")
        assert cluster.wait(waits) == 0
        told = cluster.run("events", "one", "--json").json["events"]
        changes = [event["text"].split(": ")[1] for event in told if event["gpu_uuid"] == bad]
        assert changes == [
            "healthy -> draining",
            "draining -> quarantined",
            "quarantined -> testing",
            "testing -> healthy",
        ]
        assert json.dumps(told).count("XID 95") >= 2
        cluster.run("stop", job, "--abort")
