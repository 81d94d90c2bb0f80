"""Networks are seen, not believed: where a group can be, where it can't and why, and who is told apart from whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

A = ["a1", "a2", "a3", "a4"]
B = ["b1", "b2"]


def hosts_of(cluster: Cluster, job: str) -> list[str]:
    return sorted(node["host_name"] for node in cluster.nodes(job))


def summary(cluster: Cluster, job: str) -> str:
    return str(cluster.run("explain", job, "--json").json["summary"])


def test_a_group_larger_than_any_network_waits_and_says_why(cluster: Cluster) -> None:
    job = cluster.shell("true", "--nodes", "5")
    said = cluster.run("explain", job).text
    assert "a network of 5 hosts" in said
    assert "of 6 that fit, the largest has 4: a1, a2, a3, a4" in said
    for host in B:
        assert host in said
    # Both ends and the address that was tried.
    assert re.search(r"[ab]\d -> [ab]\d at 10\.7\.[12]\.1\d:7433: \S+", said)
    assert cluster.show(job)["job"]["state"] == "queued"

    cluster.run("stop", job)
    assert cluster.wait(job) == 76


def test_submit_says_what_a_job_waits_for_and_a_dry_run_too(cluster: Cluster) -> None:
    planned = cluster.run("submit", "--dry-run", "--nodes", "5", "--", "true")
    assert "a network of 5 hosts" in planned.text
    # One node a host: no fleet of six ever holds seven.
    seven = cluster.run("submit", "--dry-run", "--nodes", "7", "--", "true", check=False)
    assert "waits for 7 hosts" in seven.text + seven.err


def test_a_group_takes_the_network_that_is_free(cluster: Cluster) -> None:
    first = cluster.shell("sleep 1000", "--nodes", "4", "--cpus", "2")
    cluster.await_state(first, "running")
    second = cluster.shell("sleep 1000", "--nodes", "2", "--cpus", "2")
    cluster.await_state(second, "running")
    assert (hosts_of(cluster, first), hosts_of(cluster, second)) == (A, B)

    third = cluster.shell("true", "--nodes", "2", "--cpus", "2")
    assert "free at once" in summary(cluster, third)
    cluster.run("stop", first)
    assert cluster.wait(third) == 0


def test_a_link_cut_in_one_direction_is_known_by_name_and_avoided(cluster: Cluster, site: Site) -> None:
    with site.cut("a1", "a3"):
        # The cut is younger than the last probe: the rendezvous finds it, lets go of all, and forms another group.
        four = cluster.shell("true", "--nodes", "4")
        eventually(lambda: "a1 -> a3" in summary(cluster, four), 30.0, "a reason that names both ends")
        reason = summary(cluster, four)
        assert f"a1 -> a3 at {site.hosts['a3'].address}:7433: timed out" in reason
        assert "the largest has 3" in reason
        assert cluster.show(four)["job"]["state"] == "queued"

        three = cluster.shell("true", "--nodes", "3")
        assert cluster.wait(three) == 0
        assert not {"a1", "a3"} <= set(hosts_of(cluster, three))
    # The firewall is mended: the next probes see it, and the job that waited runs.
    assert cluster.wait(four, timeout=30) == 0
    cluster.await_networks(A, B)


def test_a_group_over_a_fresh_cut_lets_go_of_everything(cluster: Cluster, site: Site) -> None:
    """Probes were good a moment ago, so that only the rendezvous can find it; no part of the group ever starts."""
    busy = cluster.shell("sleep 1000", "--nodes", "4", "--cpus", "2")
    cluster.await_state(busy, "running")
    with site.cut("b1", "b2"):
        job = cluster.shell('echo >> "$HOME/began"', "--nodes", "2", "--cpus", "2")
        wanted = f"rendezvous failed: b1 -> b2 at {site.hosts['b2'].address}:7433: timed out"
        eventually(lambda: wanted in summary(cluster, job), what=f"{wanted!r} in what explain says")
        assert [cluster.hosts()[name]["cpus_used"] for name in B] == [0, 0]
        assert not [name for name in B if (cluster.agents[name].home / "began").exists()]
    assert cluster.wait(job, timeout=30) == 0
    assert [(cluster.agents[name].home / "began").read_text() for name in B] == ["\n", "\n"]
    cluster.run("stop", busy)


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Cluster]:
    """Two networks with the very same addresses, .11 and .12 in each; nobody states a network's name."""
    (tmp_path / "site").mkdir()
    with Site.open({"a": Lan("10.7.0", 2), "b": Lan("10.7.0", 2)}, tmp_path / "site") as site:
        cluster = Cluster(tmp_path, HUB_ADDRESS, site.hub, ("--probe-interval", "4s"))
        with cluster:
            for host in site.hosts.values():
                cluster.add(host.name, host.enter)
            yield cluster


def test_networks_with_the_same_addresses_are_told_apart(twins: Cluster) -> None:
    twins.await_networks(["a1", "a2"], ["b1", "b2"])
    addresses = {name: host["peer_endpoint"] for name, host in twins.hosts().items()}
    assert addresses["a1"] == addresses["b1"] == "10.7.0.11:7433"
    assert addresses["a2"] == addresses["b2"] == "10.7.0.12:7433"

    # Nobody stated a backend: hosts, plans and nodes say the same of it.
    assert {host["facts"]["backend"] for host in twins.hosts().values()} == {"local"}
    jobs = [twins.shell('echo "$RALLYPOINT_BACKEND"; sleep 2', "--nodes", "2") for _ in range(3)]
    for job in jobs:
        assert twins.wait(job) == 0
        assert hosts_of(twins, job) in (["a1", "a2"], ["b1", "b2"])
        assert twins.logs(job, 0) == b"local\n"

    three = twins.shell("true", "--nodes", "3")
    said = twins.run("explain", three).text
    assert "the largest has 2" in said
    # Someone answers at that address, and it is someone else.
    assert re.search(r"(a\d -> b\d|b\d -> a\d) at 10\.7\.0\.1\d:7433: answered by host", said)
    twins.run("stop", three)


def test_hosts_whose_peer_port_nobody_reaches_still_serve_any(cluster: Cluster, site: Site) -> None:
    """Their agents listen on the loop-back alone."""
    cluster.add("hermit", site.hosts["b1"].enter, run=["--peer-listen", "127.0.0.1:0"])
    try:
        eventually(lambda: cluster.hosts()["hermit"]["state"] == "online", what="the hermit online")
        job = cluster.shell("sleep 3", "--placement", "any", "--nodes", "14", "--cpus", "1")
        assert cluster.wait(job) == 0
        assert "hermit" in hosts_of(cluster, job)

        group = cluster.shell("true", "--nodes", "3", "--name", "without-hermit")
        assert cluster.wait(group) == 0
        assert "hermit" not in hosts_of(cluster, group)
    finally:
        cluster.stop_all()
        cluster.remove("hermit")
