"""`on_disconnect` with links that are really cut: what is kept goes on, for as long as its job says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

LEASE = 3.0
FAST = ("--heartbeat", "0.5s", "--suspect", "1.5s", "--lease", f"{LEASE:g}s", "--grace", "1s")
# Goes on till the file "go" is there; a second run would begin with a pid of its own.
TASK = """
type: task
name: {name}
placement: any
on_disconnect: {rule}
commands:
  - echo "pid $$"
  - until [ -e {go} ]; do sleep 0.1; done
  - echo the end
  - exit 7
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Two hosts."""
    (tmp_path / "site").mkdir()
    with Site.open({"a": Lan("10.7.1", 2)}, tmp_path / "site") as site:
        yield site


@pytest.fixture
def cluster(site: Site, tmp_path: Path) -> Iterator[Cluster]:
    """Their agents, with short limits."""
    cluster = Cluster(tmp_path, HUB_ADDRESS, site.hub, FAST)
    with cluster:
        for host in site.hosts.values():
            cluster.add(host.name, host.enter)
        cluster.await_networks(["a1", "a2"])
        yield cluster


@contextmanager
def cut_off(site: Site, name: str) -> Iterator[None]:
    """Nothing comes or goes, and nobody is told."""
    enter = ["nsenter", f"--net=/run/netns/{site.hosts[name].namespace}", "nft"]
    rules = "add table inet away\n"
    for hook, interface in (("input", "iifname"), ("output", "oifname")):
        rules += f"add chain inet away {hook} {{ type filter hook {hook} priority -10; }}\n"
        rules += f'add rule inet away {hook} {interface} != "lo" drop\n'
    subprocess.run([*enter, "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*enter, "delete table inet away"], check=True)


def submit(cluster: Cluster, name: str, rule: str) -> tuple[str, int, str]:
    """A running job: its id, its process, its host."""
    path = cluster.folder / f"{name}.yml"
    path.write_text(TASK.format(name=name, rule=rule, go=cluster.folder / "go"))
    job = cluster.submit(str(path))
    pid = int(cluster.await_output(job, 0, b"pid").split()[1])
    cluster.await_state(job, "running")
    return job, pid, cluster.nodes(job)[0]["host_name"]


def await_host(cluster: Cluster, name: str, state: str) -> None:
    eventually(lambda: cluster.hosts()[name]["state"] == state, what=f"{name} to be {state}")


def test_what_is_kept_outlasts_the_lease_and_its_end_arrives(cluster: Cluster, site: Site) -> None:
    job, pid, host = submit(cluster, "kept", "keep")
    with cut_off(site, host):
        await_host(cluster, host, "lost")
        assert lives(pid)
        shown = cluster.show(job)
        assert f"host {host} is away since" in shown["job"]["reason"]
        assert "kept (on_disconnect: keep)" in shown["nodes"][0]["reason"]
        refused = cluster.run("host", "remove", host, check=False)
        assert (refused.code, "--gone" in refused.err) == (74, True)
        # It ends while nobody can be told.
        (cluster.folder / "go").touch()
        eventually(lambda: not lives(pid), what="the end of the node")
    assert cluster.wait(job, timeout=40) == 7
    (node,) = cluster.nodes(job)
    assert (node["exit_code"], int(node["attempt"]), node["host_name"]) == (7, 1, host)
    # Output follows the end: the host had both to send.
    whole = b"pid %d\nthe end\n" % pid
    eventually(lambda: cluster.logs(job, 0) == whole, what="all output")


def test_a_stop_reaches_what_was_kept_when_its_host_is_back(cluster: Cluster, site: Site) -> None:
    job, pid, host = submit(cluster, "stopped", "keep")
    with cut_off(site, host):
        await_host(cluster, host, "lost")
        cluster.run("stop", job)
        shown = cluster.show(job)["job"]
        assert shown["state"] == "stopping"
        assert shown["reason"].endswith(f"waits for host {host}, which is away")
        assert lives(pid)
    cluster.await_state(job, "stopped")
    assert not lives(pid)


@pytest.mark.parametrize("action", ["keep", "stop"])
def test_a_host_itself_ends_a_node_after_its_time_even_without_its_agent(
    cluster: Cluster, site: Site, action: str
) -> None:
    """Only the spawner is left to do it. What was kept is not tried again, what is stopped is, and only then."""
    job, pid, host = submit(cluster, action, f"{{action: {action}, after: 12s}}")
    with cut_off(site, host):
        cluster.agents[host].program.kill()
        await_host(cluster, host, "lost")
        assert lives(pid), "stopped with the lease, not after its own time"
        assert [int(node["attempt"]) for node in cluster.nodes(job)] == [1]
        eventually(lambda: not lives(pid), what="the host to stop it")
        if action == "keep":
            assert cluster.wait(job, timeout=40) == 1
            assert "never placed twice" in cluster.show(job)["job"]["reason"]
            assert [int(node["attempt"]) for node in cluster.nodes(job)] == [1]
        else:
            moved = eventually(lambda: [n for n in cluster.nodes(job) if int(n["attempt"]) == 2], what="attempt 2")
            assert moved[0]["host_name"] != host
    cluster.agents[host].program.start()


def test_a_time_shorter_than_the_lease_is_refused_with_both(cluster: Cluster) -> None:
    path = cluster.folder / "short.yml"
    path.write_text(TASK.format(name="short", rule="{action: stop, after: 2s}", go="/"))
    refused = cluster.run("submit", "--detach", str(path), check=False)
    assert refused.code != 0
    assert "after: 2s is shorter than this cluster's lease of 3s" in refused.err


def test_the_owner_gives_a_machine_up_and_its_node_runs_elsewhere(cluster: Cluster, site: Site) -> None:
    job, _, host = submit(cluster, "given-up", "keep")
    with cut_off(site, host):
        await_host(cluster, host, "lost")
        cluster.run("host", "remove", host, "--gone")
        moved = eventually(lambda: [n for n in cluster.nodes(job) if int(n["attempt"]) == 2], what="attempt 2")
        assert moved[0]["host_name"] != host
        assert host not in cluster.hosts()
    # It was not gone after all: what it ran is stopped, and it is told why.
    eventually(lambda: cluster.agents[host].program.ended() == 7, what="the agent to leave, as it is told")
    cluster.agents.pop(host)
    (cluster.folder / "go").touch()
    assert cluster.wait(job, timeout=40) == 7
