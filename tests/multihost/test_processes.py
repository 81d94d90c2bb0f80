"""What becomes of nodes' processes over real hosts: too much memory, and some that nothing can kill."""

from __future__ import annotations

import re

import pytest

from tests.fakes.ice import ice
from tests.multihost.cluster import Cluster
from tests.support import eventually, missing

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]


def test_a_node_that_needs_too_much_memory_says_so(cluster: Cluster) -> None:
    if not all("memory limits by" in host["hardware"]["isolation"] for host in cluster.hosts().values()):
        missing("a memory controller that may be written", "run the tests as root")
    job = cluster.shell("head -c 300000000 /dev/zero | tail", "--placement", "any", "--memory", "..64MB")
    assert cluster.wait(job) != 0
    (node,) = cluster.nodes(job)
    assert (node["state"], node["reason"]) == ("failed", "out of memory: limit 64 MB, peak 64 MB")


def test_what_cannot_be_killed_is_shown_and_keeps_what_it_holds(cluster: Cluster) -> None:
    with ice() as frozen:
        job = cluster.shell("echo pid $$; sleep 1000", "--placement", "any", "--stop-duration", "0s")
        found = re.search(rb"pid (\d+)\n", cluster.await_output(job, 0, b"\n"))
        assert found is not None
        pid = int(found[1])
        frozen.freeze(pid)
        cluster.run("stop", job)
        said = eventually(lambda: "cannot be killed" in cluster.nodes(job)[0]["reason"] and cluster.nodes(job)[0])
        assert said["state"] == "stopping"
        assert f"{pid} (sh)" in said["reason"]
        host = cluster.hosts()[said["host_name"]]
        assert f"{pid} (sh)" in host["warning"]
        assert host["cpus_used"] == 1
        frozen.thaw()
        assert cluster.wait(job) == 76
        eventually(lambda: not cluster.hosts()[said["host_name"]]["cpus_used"], what="room again")
