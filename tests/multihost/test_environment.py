"""What a node of a `cluster` group finds in its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import Site

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]


def variables(output: bytes) -> dict[str, str]:
    """The output of ``env -0``."""
    return dict(pair.split("=", 1) for pair in output.decode().split("\0") if "=" in pair)


def environments(cluster: Cluster, job: str) -> list[tuple[Any, dict[str, str]]]:
    return [(node, variables(cluster.logs(job, int(node["rank"])))) for node in cluster.nodes(job)]


def test_a_group_is_told_its_master_its_peers_and_its_interface(cluster: Cluster, site: Site) -> None:
    job = cluster.shell('env -0; printf "HOSTFILE=%s\\0" "$(cat "$DSTACK_MPI_HOSTFILE")"', "--nodes", "4")
    assert cluster.wait(job) == 0
    found = environments(cluster, job)
    addresses = [site.hosts[node["host_name"]].address for node, _ in found]
    ports = {env["MASTER_PORT"] for _, env in found}

    for rank, (node, env) in enumerate(found):
        assert env["DSTACK_NODE_RANK"] == str(rank)
        assert env["DSTACK_NODES_NUM"] == "4"
        assert env["DSTACK_NODES_IPS"] == "\n".join(addresses)
        assert env["DSTACK_MASTER_NODE_IP"] == env["MASTER_ADDR"] == addresses[0]
        assert env["RALLYPOINT_NODE_ADDRESS"] == addresses[rank] == node["address"]
        assert env["HOSTFILE"] == "\n".join(f"{address} slots=1" for address in addresses)
        # Not the agents' own environment (conftest.FOREIGN), and not the loop-back.
        assert env["NCCL_SOCKET_IFNAME"] == env["GLOO_SOCKET_IFNAME"] == "eth0"
        assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "PMIX_RANK", "SLURM_PROCID", "DSTACK_SECRET"} & env.keys()
        assert env["DSTACK_RUN_ID"] == job
        assert env["RALLYPOINT_HOST_NAME"] == node["host_name"]
        assert env["RALLYPOINT_BACKEND"] == "cloud-a"
        assert (env["DSTACK_GPUS_PER_NODE"], env["DSTACK_GPUS_NUM"], env["CUDA_VISIBLE_DEVICES"]) == ("0", "0", "")
        assert not env["DSTACK_WORKING_DIR"].endswith("/")
    assert len(ports) == 1
    assert 20000 <= int(ports.pop()) <= 29999


def test_the_masters_port_is_free_and_in_the_hosts_own_range(cluster: Cluster) -> None:
    script = """
        [ "$DSTACK_NODE_RANK" = 0 ] || exit 0
        python3 -c 'import os, socket
server = socket.create_server((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
print("bound", server.getsockname())'
    """
    job = cluster.shell(script, "--nodes", "2")
    assert cluster.wait(job) == 0
    assert b"bound" in cluster.logs(job, 0)


def test_the_users_own_variables_win_in_a_group(cluster: Cluster) -> None:
    words = ["--env", "MASTER_PORT=4242", "--env", "NCCL_SOCKET_IFNAME=ib0"]
    job = cluster.submit("--nodes", "2", *words, "--", "env", "-0")
    assert cluster.wait(job) == 0
    for _, env in environments(cluster, job):
        assert (env["MASTER_PORT"], env["NCCL_SOCKET_IFNAME"]) == ("4242", "ib0")


def test_a_group_of_one_has_a_master_of_its_own(cluster: Cluster) -> None:
    job = cluster.submit("--nodes", "1", "--", "env", "-0")
    assert cluster.wait(job) == 0
    ((node, env),) = environments(cluster, job)
    assert env["MASTER_ADDR"] == env["DSTACK_NODES_IPS"] == node["address"]
    assert 20000 <= int(env["MASTER_PORT"]) <= 29999


def test_files_arrive_with_a_task(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.txt").write_text("1 2 3\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\ncat data/numbers.txt; pwd -P\n")
    (tmp_path / "run.sh").chmod(0o755)
    task = "type: task\nname: files\nnodes: 2\nfiles: [data, run.sh]\ncommands:\n  - ./run.sh\n"
    (tmp_path / "task.yml").write_text(task)
    cluster.run("submit", "task.yml", cwd=tmp_path)
    for node in cluster.nodes("files"):
        said = cluster.logs("files", int(node["rank"])).decode().splitlines()
        assert said[0] == "1 2 3"
        assert said[1].startswith(str(cluster.agents[node["host_name"]].state))
