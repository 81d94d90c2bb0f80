"""GPUs of a host as jobs get them; the driver is the stub of ``tests.fakes.nvml``, read through the real binding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml import a100, divided, eight_h100, host_env
from tests.multihost.cluster import Agent, Cluster
from tests.multihost.net import Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def big(shared: Cluster, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One more agent on host ``b1``, with eight H100 and CPUs for all of them."""
    stub = host_env(tmp_path_factory.mktemp("driver"), eight_h100())
    agent = shared.add("big", site.hosts["b1"].enter, run=["--cpus", "8", "--peer-listen", "0.0.0.0:7500"], env=stub)
    eventually(lambda: shared.hosts()["big"]["state"] == "online", what="the host with GPUs online")
    yield agent
    shared.remove("big")


def test_gpus_are_given_by_uuid_and_never_twice(cluster: Cluster, big: Agent) -> None:
    """Eight GPUs, five nodes of two: four run at once on GPUs of their own; one waits, then gets two that are free."""
    host = cluster.hosts()["big"]
    assert [gpu["name"] for gpu in host["hardware"]["gpus"]] == ["NVIDIA H100 80GB HBM3"] * 8

    say = 'echo "$CUDA_VISIBLE_DEVICES $DSTACK_GPUS_PER_NODE $DSTACK_GPUS_NUM"'
    script = say + '; until [ -e "$HOME/go" ]; do sleep 0.05; done'
    options = ["--placement", "any", "--nodes", "5", "--gpus", "H100:2"]
    job = cluster.shell(script, *options)
    home = big.home

    def running() -> list[Any]:
        return [node for node in cluster.nodes(job) if node["state"] == "running"]

    eventually(lambda: len(running()) == 4, what="four running nodes")
    held = [uuid for node in running() for uuid in node["gpu_uuids"]]
    assert sorted(held) == sorted(str(gpu.uuid) for gpu in eight_h100())
    assert sorted(cluster.hosts()["big"]["gpu_uuids_used"]) == sorted(held)
    assert "1 of 5 nodes wait for room" in cluster.run("explain", job).text

    (home / "go").touch()
    try:
        assert cluster.wait(job) == 0
    finally:
        (home / "go").unlink()
    for node in cluster.nodes(job):
        given, per_node, total = cluster.logs(job, int(node["rank"])).decode().split()
        assert given.split(",") == node["gpu_uuids"]
        assert (len(node["gpu_uuids"]), per_node, total) == (2, "2", "10")
    assert cluster.hosts()["big"]["gpu_uuids_used"] == []


@pytest.mark.usefixtures("big")
def test_a_job_no_host_can_ever_hold_is_refused_with_the_numbers(cluster: Cluster) -> None:
    refused = cluster.run("submit", "--gpus", "H100:16", "--", "true", check=False)
    assert refused.code == 73
    assert "big" in refused.err
    assert "16" in refused.err
    assert "8" in refused.err
    other = cluster.run("submit", "--gpus", "A100:1", "--", "true", check=False)
    assert other.code == 73
    assert "A100" in other.err


@pytest.mark.usefixtures("big")
def test_mpi_slots_are_the_nodes_gpus(cluster: Cluster) -> None:
    job = cluster.shell('cat "$DSTACK_MPI_HOSTFILE"', "--gpus", "H100:4", "--placement", "cluster")
    assert cluster.wait(job) == 0
    assert cluster.logs(job, 0) == b"10.7.2.11 slots=4\n"


def test_mig_instances_are_gpus_by_their_own_uuids(shared: Cluster, site: Site, tmp_path: Path) -> None:
    split = divided(a100(9), "1g.5gb", "1g.5gb", "2g.10gb")
    run = ["--cpus", "3", "--peer-listen", "0.0.0.0:7501"]
    shared.add("split", site.hosts["b2"].enter, run=run, env=host_env(tmp_path / "driver", [split]))
    try:
        eventually(lambda: shared.hosts()["split"]["state"] == "online", what="the host with MIG instances online")
        listed = shared.hosts()["split"]["hardware"]["gpus"]
        assert {gpu["parent"] for gpu in listed} == {split.uuid}
        job = shared.shell('echo "$CUDA_VISIBLE_DEVICES"', "--placement", "any", "--nodes", "3", "--gpus", "A100:1")
        assert shared.wait(job) == 0
        given = {shared.logs(job, rank).decode().strip() for rank in range(3)}
        assert given
        assert given <= {instance.uuid for instance in split.mig}
        refused = shared.run("submit", "--gpus", "A100:2", "--", "true", check=False)
        assert refused.code == 73
        assert "a MIG instance, of which a program can use only one at a time" in refused.err
    finally:
        shared.stop_all()
        shared.remove("split")
