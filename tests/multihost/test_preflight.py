"""A group measures before it starts: real agents, real links, of which one host's is slow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import Site
from tests.unit.examples.nodes import require_module

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# Slower than any machine's processors are, so that the figures are those of the links.
USUAL, SLOW = "200mbit", "5mbit"

TASK = """
type: task
nodes: 3
preflight: {kind: network, seconds: 0.2}
commands: [sleep 600]
"""


@contextmanager
def rates(site: Site, **rates: str) -> Iterator[None]:
    """What these hosts send goes out no faster than that."""
    inside = {name: ["ip", "netns", "exec", site.hosts[name].namespace, "tc", "qdisc"] for name in rates}
    for name, rate in rates.items():
        limit = ["tbf", "rate", rate, "burst", "32kb", "latency", "100ms"]
        subprocess.run([*inside[name], "add", "dev", "eth0", "root", *limit], check=True)
    try:
        yield
    finally:
        for command in inside.values():
            subprocess.run([*command, "del", "dev", "eth0", "root"], check=True)


def test_the_slow_host_is_named_and_replaced_before_anything_starts(
    cluster: Cluster, site: Site, tmp_path: Path
) -> None:
    task = tmp_path / "job.yml"
    task.write_text(TASK)
    with rates(site, a1=USUAL, a2=SLOW, a3=USUAL, a4=USUAL):
        job = cluster.submit(str(task))
        cluster.await_state(job, "running")
        shown = cluster.show(job)["job"]
        told = cluster.run("show", job).text
        cluster.run("stop", job)
    assert [node["host_name"] for node in cluster.nodes(job)] == ["a1", "a4", "a3"]
    assert "preflight: a2 -> a" in shown["reason"]
    assert "Mbit/s, the median is" in shown["reason"]
    assert shown["reason"].endswith("rank 1 moved from a2 to a4: that host is slow")
    measured = shown["preflight"]
    assert (measured["generation"], measured["slow"], len(measured["links"])) == (2, [], 6)
    assert all(link["bandwidth"] > 20e6 and link["problem"] is None for link in measured["links"])
    assert "preflight: 6 links, the median" in told


COLLECTIVES = """
type: task
nodes: 2
hosts: [b*]
env: {OMP_NUM_THREADS: "1"}
preflight: {kind: collectives, seconds: 0.1, on_slow: warn}
commands: ['echo "at $MASTER_PORT"']
"""


def test_an_all_reduce_of_torch_runs_before_the_group_does(cluster: Cluster, tmp_path: Path) -> None:
    require_module("torch", "torch==2.13.0")
    task = tmp_path / "job.yml"
    task.write_text(COLLECTIVES)
    job = cluster.submit(str(task))
    assert cluster.wait(job) == 0
    measured = cluster.show(job)["job"]["preflight"]
    assert (measured["notes"], len(measured["links"])) == ([], 2)
    assert measured["all_reduce"] > 1e6
    assert {(each["host"], each["gpu_uuid"]) for each in measured["devices"]} == {("b1", None), ("b2", None)}
    # Nothing of it is left: neither output, nor a record of the spawner's.
    assert cluster.logs(job, 0).startswith(b"at ")
    for name in ("b1", "b2"):
        assert not list((cluster.agents[name].state / "logs").glob("*preflight*"))


def test_a_host_without_torch_says_so_and_the_group_starts(cluster: Cluster, tmp_path: Path) -> None:
    # Debian's own, which has none.
    own = 'env: {PATH: "/usr/bin:/bin", '
    task = tmp_path / "job.yml"
    task.write_text(COLLECTIVES.replace("env: {", own).replace('echo "at $MASTER_PORT"', "sleep 600"))
    job = cluster.submit(str(task))
    cluster.await_state(job, "running")
    shown = cluster.show(job)["job"]
    cluster.run("stop", job)
    assert shown["reason"].startswith("preflight: no all-reduce: b1, b2: no torch in ")
    assert len(shown["preflight"]["links"]) == 2
