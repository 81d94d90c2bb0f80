"""The `cluster` examples on four hosts of one network: torchrun, Open MPI without ssh, a parameter server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import lives
from tests.support import eventually
from tests.unit.examples.nodes import numbers, require_module, require_program

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(180)]


def hosts_of(cluster: Cluster, job: str) -> list[str]:
    return [node["host_name"] for node in cluster.nodes(job)]


def last_lines(output: str) -> list[dict[str, str]]:
    """The nodes' last lines, ``rank R loss L params P``, in pairs."""
    return [numbers(line.partition("] ")[2]) for line in output.splitlines() if re.match(r"\[\d\] rank \d loss", line)]


def test_torchrun_trains_one_model_on_four_hosts(cluster: Cluster, examples: Path) -> None:
    require_module("torch", "torch==2.13.0")
    done = cluster.run("submit", str(examples / "cluster/torchrun-ddp.yml"), "--env", "EPOCHS=4")

    losses = [float(found) for found in re.findall(r"epoch \d+ loss ([\d.]+)", done.text)]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    ends = [
        numbers(line.partition("] ")[2]) for line in done.text.splitlines() if re.match(r"\[\d\] rank \d loss", line)
    ]
    assert sorted(end["rank"] for end in ends) == ["0", "1", "2", "3"]
    assert len({(end["loss"], end["params"]) for end in ends}) == 1
    assert sorted(hosts_of(cluster, "torchrun-ddp")) == ["a1", "a2", "a3", "a4"]


def test_mpi_runs_on_four_hosts_without_ssh(cluster: Cluster, examples: Path) -> None:
    require_program("mpirun", "openmpi-bin")
    require_program("mpicc", "libopenmpi-dev")
    done = cluster.run("submit", str(examples / "cluster/mpi.yml"))

    ends = [numbers(line.partition("] ")[2]) for line in done.text.splitlines() if "of 4 host" in line]
    assert sorted(end["rank"] for end in ends) == ["0", "1", "2", "3"]
    assert sorted(end["host"] for end in ends) == ["a1", "a2", "a3", "a4"]
    assert len({(end["inertia"], end["centres"]) for end in ends}) == 1
    inertia = [float(found) for found in re.findall(r"iteration \d+ inertia ([\d.]+)", done.text)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[-1] < inertia[0]


def test_a_parameter_server_and_its_workers_agree(cluster: Cluster, examples: Path) -> None:
    done = cluster.run("submit", str(examples / "cluster/parameter-server.yml"), "--env", "STEPS=20")

    ends = [
        numbers(line.partition("] ")[2]) for line in done.text.splitlines() if re.match(r"\[\d\] rank \d loss", line)
    ]
    assert sorted(end["rank"] for end in ends) == ["0", "1", "2"]
    assert len({end["params"] for end in ends}) == 1
    assert {host[0] for host in hosts_of(cluster, "parameter-server")} == {"a"}


@pytest.mark.parametrize("ending", ["stopped", "failed"])
def test_mpis_processes_end_with_their_job(cluster: Cluster, ending: str) -> None:
    """Stopped by the user, or because a node failed: neither MPI's daemons nor what they started stay on any host."""
    require_program("mpirun", "openmpi-bin")
    script = """
        if [ "$DSTACK_NODE_RANK" = 2 ]; then until [ -e "$HOME/../../fail" ]; do sleep 0.1; done; exit 5; fi
        [ "$DSTACK_NODE_RANK" = 0 ] || exec sleep 1000
        mpirun --hostfile "$DSTACK_MPI_HOSTFILE" sh -c 'echo "pid $PPID"; echo "pid $$"; exec sleep 1000'
    """
    job = cluster.shell(script, "--nodes", "3", "--stop-duration", "1s")
    eventually(lambda: cluster.logs(job, 0).count(b"pid") == 6, what="three processes and their daemons")
    pids = [int(pid) for pid in re.findall(rb"pid (\d+)", cluster.logs(job, 0))]
    assert all(lives(pid) for pid in pids)

    if ending == "stopped":
        cluster.run("stop", job)
    else:
        (cluster.folder / "fail").touch()
    assert cluster.wait(job) == (76 if ending == "stopped" else 5)
    (cluster.folder / "fail").unlink(missing_ok=True)
    eventually(lambda: not any(lives(pid) for pid in pids), 10.0, "the end of all of MPI's processes")


def test_mpi_starts_nothing_outside_its_group(cluster: Cluster) -> None:
    """The launcher takes only hosts of the node's own group, and no one without the node's ticket."""
    script = """
        [ "$DSTACK_NODE_RANK" = 0 ] || exit 0
        "$OMPI_MCA_plm_rsh_agent" 10.7.1.99 'echo started'; echo "stranger: $?"
        RALLYPOINT_LAUNCH_TICKET=/dev/null "$OMPI_MCA_plm_rsh_agent" "$DSTACK_MASTER_NODE_IP" 'echo started'
        echo "no ticket: $?"
    """
    job = cluster.shell(script, "--nodes", "2")
    cluster.wait(job)
    said = cluster.logs(job, 0).decode()
    assert "started" not in said.replace("'echo started'", "")
    assert re.search(r"stranger: [1-9]", said)
    assert re.search(r"no ticket: [1-9]", said)
    assert "10.7.1.99" in said
