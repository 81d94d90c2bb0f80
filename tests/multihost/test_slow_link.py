"""A host behind a slow line whose node prints without end: it stays in contact, and small things go through at once."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# A line of 2 Mbit/s, with a router that queues for as long as cheap ones do.
SLOW = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2mbit", "burst", "16kb", "latency", "3s"]
SECONDS = 10.0


def test_a_flood_on_a_slow_line_leaves_room_for_heartbeats(tmp_path: Path) -> None:
    times = ["--heartbeat", "1s", "--suspect", "4s", "--lease", "8s"]
    with Site.open({"s": Lan("10.7.9", 1)}, tmp_path) as site:
        host = site.hosts["s1"]
        with Cluster(tmp_path, HUB_ADDRESS, site.hub, times) as cluster:
            cluster.add("s1", host.enter, run=["--cpus", "4"])
            cluster.await_networks(["s1"])
            subprocess.run(["ip", "netns", "exec", host.namespace, *SLOW], check=True)
            flood = cluster.submit("--", "yes", "a line that nobody needs")
            cluster.await_state(flood, "running")
            began, states, taken = time.monotonic(), set(), []
            while time.monotonic() < began + SECONDS:
                states.add(cluster.hosts()["s1"]["state"])
                submitted = time.monotonic()
                assert cluster.run("submit", "--", "echo", "small").text == "small\n"
                taken.append(time.monotonic() - submitted)
            cluster.run("stop", flood, "--abort")
    assert states == {"online"}
    assert max(taken) < 5.0
