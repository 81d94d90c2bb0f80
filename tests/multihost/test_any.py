"""`placement: any` over two networks that can't reach each other: the examples, and an environment without a trace."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# What dstack, torchrun, MPI and NCCL read to find a group.
CLUSTER_NAMES = re.compile(
    r"MASTER_|DSTACK_(MASTER|NODES_IPS|MPI)|NCCL_|GLOO_|OMPI_|PMI|SLURM_|(LOCAL_|GROUP_)?(RANK|WORLD_SIZE)$|RDZV"
    r"|RALLYPOINT_(NODE_ADDRESS|LAUNCH)"
)


def results(cluster: Cluster, folder: str) -> dict[int, str]:
    """What the nodes wrote on their hosts: the file's text by rank, and that no rank is there twice."""
    found: dict[int, str] = {}
    for agent in cluster.agents.values():
        for path in (agent.home / "rallypoint-results" / folder).glob("*-[0-9]*"):
            rank = int(re.findall(r"\d+", path.name)[0])
            assert rank not in found, f"rank {rank} ran on two hosts"
            found[rank] = path.read_text(errors="replace")
    return found


def variables(output: bytes) -> dict[str, str]:
    """The output of ``env -0``."""
    return dict(pair.split("=", 1) for pair in output.decode().split("\0") if "=" in pair)


def test_a_search_of_24_nodes_uses_both_networks(cluster: Cluster, examples: Path) -> None:
    done = cluster.run("submit", str(examples / "any/search.yml"))

    assert sorted(int(rank) for rank in re.findall(r"accuracy [\d.]+ rank (\d+) of 24", done.text)) == list(range(24))
    written = results(cluster, "search")
    assert sorted(written) == list(range(24))
    assert max(json.loads(text)["accuracy"] for text in written.values()) > 0.9
    hosts = {node["host_name"] for node in cluster.nodes("search")}
    assert {host[0] for host in hosts} == {"a", "b"}


@pytest.mark.parametrize(("name", "nodes"), [("shards", 8), ("monte-carlo", 8)])
def test_an_example_leaves_every_ranks_result(cluster: Cluster, examples: Path, name: str, nodes: int) -> None:
    done = cluster.run("submit", str(examples / f"any/{name}.yml"), "--env", "PATHS=20000")

    assert sorted(results(cluster, name)) == list(range(nodes))
    assert len(done.text.splitlines()) == nodes


def test_a_model_is_trained_by_one_job_and_used_by_another(cluster: Cluster, examples: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.npz"  # on a disk that all hosts see
    cluster.run("submit", str(examples / "any/train-model.yml"), "--env", f"MODEL={model}")
    done = cluster.run("submit", str(examples / "any/batch-inference.yml"), "--env", f"MODEL={model}")

    found = [(int(right), int(images)) for images, right in re.findall(r"images (\d+) right (\d+)", done.text)]
    assert len(found) == 4
    assert sum(right for right, _ in found) > 0.9 * sum(images for _, images in found)
    assert sorted(results(cluster, "batch-inference")) == list(range(4))


def test_nodes_start_from_a_clean_environment(cluster: Cluster) -> None:
    """The agents' own environment holds a foreign job's variables (``conftest.FOREIGN``)."""
    agent = cluster.agents["a1"].program
    assert b"MASTER_ADDR=192.0.2.7" in Path(f"/proc/{agent.pid}/environ").read_bytes()

    job = cluster.submit("--placement", "any", "--nodes", "12", "--cpus", "1", "--", "env", "-0")
    assert cluster.wait(job) == 0

    hosts = set()
    for rank in range(12):
        env = variables(cluster.logs(job, rank))
        assert [name for name in env if CLUSTER_NAMES.match(name)] == []
        assert "DSTACK_SECRET" not in env
        assert env["DSTACK_NODE_RANK"] == str(rank)
        assert env["DSTACK_NODES_NUM"] == "12"
        assert env["DSTACK_GPUS_NUM"] == env["DSTACK_GPUS_PER_NODE"] == "0"
        assert env["CUDA_VISIBLE_DEVICES"] == ""
        hosts.add(env["RALLYPOINT_HOST_NAME"])
        network = env["RALLYPOINT_HOST_NAME"][0]
        assert (env["RALLYPOINT_BACKEND"], env["RALLYPOINT_REGION"]) == (f"cloud-{network}", f"region-{network}")
        # Nothing of any other host: no address of either network.
        assert not [name for name, value in env.items() if "10.7." in value]
    assert len(hosts) == 6


def test_the_users_own_variables_win(cluster: Cluster) -> None:
    words = ["--env", "MASTER_ADDR=mine", "--env", "DSTACK_NODES_NUM=7", "--env", "HOME=/elsewhere"]
    job = cluster.submit("--placement", "any", *words, "--", "env", "-0")
    assert cluster.wait(job) == 0
    env = variables(cluster.logs(job, 0))
    assert (env["MASTER_ADDR"], env["DSTACK_NODES_NUM"], env["HOME"]) == ("mine", "7", "/elsewhere")
