"""Bad lines to the coordinator: long and lossy, and slow under a flood of output. Nothing is taken for lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.multihost import faults, longhaul
from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(170)]


def test_300_ms_and_5_percent_of_loss(tmp_path: Path) -> None:
    with longhaul.far_away(tmp_path / "far", hosts=2) as cluster:
        seen = longhaul.watch(cluster, 12.0)
        trips = [host["round_trip_seconds"] for host in cluster.hosts().values()]
    assert set(seen.states) == {"online"}
    assert set(seen.attempts) == {1}
    assert seen.lines > 50
    assert all(2 * longhaul.DELAY <= trip < 3.0 for trip in trips), f"calls took {trips}"


def test_a_flood_of_output_on_a_slow_line_starves_no_heartbeat(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    with Site.open({"a": Lan("10.7.1", 2)}, tmp_path / "site") as site:
        cluster = Cluster(tmp_path, HUB_ADDRESS, site.hub)
        with cluster:
            for name, host in site.hosts.items():
                cluster.add(name, host.enter)
            cluster.await_networks(list(site.hosts))
            with faults.slow(site, "a", "256kbit"):
                flood = cluster.shell("yes 0123456789abcde | head -c 30000000; sleep 600", "--placement", "any")
                eventually(lambda: cluster.logs(flood, 0), 30.0, "the first output")
                states, have = set(), 0
                # A second job beside it is placed, runs, and is told of, again and again.
                for _ in range(4):
                    assert cluster.run("submit", "--placement", "any", "--", "echo", "beside", timeout=40).text
                    states |= {host["state"] for host in cluster.hosts().values()}
                    now = len(cluster.logs(flood, 0))
                    assert now > have, "output stands still"
                    have = now
                assert states == {"online"}
                opened = [agent.folder / "agent.log" for agent in cluster.agents.values()]
                assert sum(log.read_text().count('"session.open"') for log in opened) == 2, "a session was lost"
                cluster.run("stop", flood, "--abort")
                assert cluster.wait(flood, timeout=60) == 76
