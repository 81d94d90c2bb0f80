"""Unequal clusters on real hosts: a parameter server and workers from one file, and who starts first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nvml import h100, host_env
from tests.multihost.cluster import Cluster
from tests.multihost.net import Site
from tests.support import eventually
from tests.unit.examples.nodes import numbers, require_module

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def gpu_hosts(shared: Cluster, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two more agents in network ``b``, each with a CPU and a GPU."""
    names = ["gpu1", "gpu2"]
    for number, name in enumerate(names):
        stub = host_env(tmp_path_factory.mktemp("driver"), [h100(number)])
        run = ["--cpus", "1", "--peer-listen", f"0.0.0.0:{7600 + number}"]
        shared.add(name, site.hosts[f"b{number + 1}"].enter, run=run, env=stub)
    eventually(lambda: any(set(names) <= set(found) for found in shared.networks()), what="a network with the GPUs")
    yield names
    for name in names:
        shared.remove(name)


def test_a_server_on_cpus_and_workers_on_gpus_train_from_one_file(
    cluster: Cluster, examples: Path, gpu_hosts: list[str], tmp_path: Path
) -> None:
    require_module("torch", "torch==2.13.0")
    text = (examples / "cluster/server-and-workers.yml").read_text()
    (tmp_path / "task.yml").write_text(text.replace("# gpu: 1 ", "gpu: 1 "))
    (tmp_path / "server_and_workers.py").write_text((examples / "cluster/server_and_workers.py").read_text())
    done = cluster.run("submit", str(tmp_path / "task.yml"), "--env", "STEPS=30")

    losses = [float(found) for found in re.findall(r"step \d+ loss ([\d.]+)", done.text)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 10
    ends = [
        numbers(line.partition("] ")[2]) for line in done.text.splitlines() if re.match(r"\[\d\] rank \d group", line)
    ]
    assert sorted((end["rank"], end["group"]) for end in ends) == [("0", "servers"), ("1", "workers"), ("2", "workers")]
    assert len({(end["loss"], end["params"]) for end in ends}) == 1
    nodes = {node["rank"]: node for node in cluster.nodes("server-and-workers")}
    assert nodes[0]["host_name"] in {"b1", "b2"}
    assert sorted(nodes[rank]["host_name"] for rank in (1, 2)) == gpu_hosts
    assert [len(nodes[rank]["gpu_uuids"]) for rank in range(3)] == [0, 1, 1]


def test_the_master_starts_when_the_workers_have_announced_to_be_ready(cluster: Cluster, tmp_path: Path) -> None:
    go = cluster.folder / "go"
    go.unlink(missing_ok=True)
    script = f"""
        if [ "$DSTACK_NODE_RANK" = 0 ]; then echo "$RALLYPOINT_GROUP_NAME $RALLYPOINT_GROUP_RANK"; exit 0; fi
        echo waits; until [ -e {go} ]; do sleep 0.05; done
        touch "$RALLYPOINT_READY_FILE"; echo "$RALLYPOINT_GROUP_NAME $RALLYPOINT_GROUP_RANK"
    """
    lines = "\n".join(f"        {line.strip()}" for line in script.strip().splitlines())
    task = f"""
type: task
startup_order: workers-first
groups:
  - name: head
    commands:
      - |
{lines}
  - name: hands
    nodes: 2
    commands:
      - |
{lines}
"""
    (tmp_path / "task.yml").write_text(task)
    job = cluster.submit(str(tmp_path / "task.yml"))
    for rank in (1, 2):
        cluster.await_output(job, rank, b"waits")
    assert "node 0 start when nodes 1, 2 announced to be ready" in cluster.run("explain", job).text
    assert [node["state"] for node in cluster.nodes(job)] == ["placed", "running", "running"]
    go.touch()
    try:
        assert cluster.wait(job) == 0
    finally:
        go.unlink()
    assert [cluster.logs(job, rank).split()[-2:] for rank in range(3)] == [
        [b"head", b"0"],
        [b"hands", b"0"],
        [b"hands", b"1"],
    ]
