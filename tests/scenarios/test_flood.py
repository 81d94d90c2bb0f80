"""A node that prints 100 MB a second: all else goes on, memory and disks are bounded, each byte is accounted for.

A short form of ``tests/bench/test_flood.py`` with small limits, so that all of them are reached.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.conftest import client_of
from tests.bench.flood import MB, count, disk_used, flood, report, start
from tests.bench.results import percentile
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

HOST_LIMIT, COORDINATOR_LIMIT = 32, 24


def test_a_flood_leaves_the_rest_alive_and_every_byte_counted(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, options=["--log-limit", f"{COORDINATOR_LIMIT}MB"])
    with cluster:
        limits = ["--log-keep", f"{HOST_LIMIT}MB", "--log-rate", "8MB"]
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--cpus", "8", *limits])
        cluster.await_networks(["one"])
        found = flood(cluster, "one", nodes=1, seconds=6)
    print(report(found))
    assert found.written > 200 * MB, "this machine is too slow for a flood"
    assert found.kept + found.dropped == found.written
    assert 4 * MB <= found.kept <= COORDINATOR_LIMIT * MB
    assert found.states == {"HOST_STATE_ONLINE"}
    assert percentile(found.jobs, 0.99) < 1.0
    assert found.watch.grown("agent") < 64 * MB
    assert found.watch.grown("coordinator") < 128 * MB
    # What is written between two looks comes on top.
    assert found.watch.most_disk["agent"] < (HOST_LIMIT + 100) * MB
    assert found.watch.most_disk["coordinator"] < (COORDINATOR_LIMIT + 4) * MB


def test_a_flood_while_coordinator_and_agent_are_killed_is_counted_to_the_byte(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, options=["--log-limit", f"{COORDINATOR_LIMIT}MB"])
    with cluster:
        agent = cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--log-keep", f"{HOST_LIMIT}MB"])
        cluster.await_networks(["one"])
        note = tmp_path / "note.json"
        with client_of(cluster) as client:
            job = start(client, note, 5)
        stored, written = cluster.data_dir / "logs", agent.state / "logs" / f"{job}.0.1.log"
        eventually(lambda: stored.exists() and disk_used(stored) > 8 * MB, what="output")
        cluster.coordinator.kill()
        seen = written.stat().st_size
        eventually(lambda: written.stat().st_size > seen + 2 * HOST_LIMIT * MB, what="more than the host keeps")
        assert disk_used(agent.state / "logs") < (HOST_LIMIT + 100) * MB
        agent.program.kill()
        agent.program.start()
        cluster.start()
        assert cluster.wait(job) == 0
        with client_of(cluster) as client:
            kept, dropped = count(client, job, json.loads(note.read_text())["written"])
            assert dropped > HOST_LIMIT * MB
            assert 4 * MB <= kept <= COORDINATOR_LIMIT * MB
