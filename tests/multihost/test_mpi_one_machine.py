"""`mpirun` with several agents of one machine in a group: they share an address, and so a line of the host file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.multihost.cluster import Cluster
from tests.unit.examples.nodes import require_program

pytestmark = pytest.mark.timeout(120)

TASK = """
type: task
name: mpi
nodes: 2
stop_criteria: master-done
commands:
  - '[ "$DSTACK_NODE_RANK" = 0 ] || exec sleep infinity'
  - cat $DSTACK_MPI_HOSTFILE
  - mpirun --hostfile $DSTACK_MPI_HOSTFILE sh -c 'echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE'
  - no-such-program
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two agents beside each other on the loop-back."""
    require_program("mpirun", "openmpi-bin")
    cluster = Cluster(tmp_path_factory.mktemp("one"))
    with cluster:
        for name in ("left", "right"):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["left", "right"])
        yield cluster
        cluster.stop_all()


def test_slots_of_one_address_are_added_up(cluster: Cluster) -> None:
    task = cluster.folder / "task.yml"
    task.write_text(TASK)
    job = cluster.submit(str(task))
    code = cluster.wait(job, timeout=60)
    said = cluster.logs(job, 0).decode().splitlines()
    assert "127.0.0.1 slots=2" in said, said
    assert {"0 of 2", "1 of 2"} <= set(said)
    assert code == 127


def test_a_program_that_does_not_exist_ends_its_job_with_127(cluster: Cluster) -> None:
    job = cluster.submit("--nodes", "1", "--placement", "any", "--", "no-such-program")
    assert cluster.wait(job) == 127
    shown = cluster.show(job)
    assert "'no-such-program' could not be started: no such program in PATH" in shown["job"]["reason"]
    assert [node["exit_code"] for node in shown["nodes"]] == [127]
    assert cluster.wait(cluster.submit("--nodes", "2", "--", "/proc/self/status")) == 126
