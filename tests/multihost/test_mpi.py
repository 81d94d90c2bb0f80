"""`mpirun` as the task file has it, on hosts that share no file system and keep their state in different places.

Nodes run as somebody else than the agent, as they do by default.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Host, Lan, Site
from tests.other_user import OTHER, TASK, open_folder
from tests.unit.examples.nodes import require_program

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# An account that each host's installer makes has another number on each.
USERS = {"m1": TASK, "m2": TASK, "m3": OTHER}
CHECKOUT = Path(__file__).parents[2]

# Hides /tmp and all other hosts' folders: left are the host's own folder and the token to join with.
_ALONE = """
folder=$1 own=$2 checkout=$3; shift 3
umask 022
mount --bind "$folder" /mnt
mount --bind "$checkout" /media
mount -t tmpfs -o mode=1777 none /tmp
# The programs themselves are the same everywhere, also when the checkout lies in /tmp.
mkdir -p "$checkout"
mount --bind /media "$checkout"
umount --lazy /media
mkdir -p "$folder"
mount -t tmpfs none "$folder"
mkdir "$folder/$own"
mount --bind "/mnt/$own" "$folder/$own"
cp -p /mnt/token "$folder/token"
umount --lazy /mnt
exec "$@"
"""


# In C, for only programs that really talk to each other show which interface MPI takes: a ring, each to the next.
_RING = """
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
  int rank, size, sum;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  int from = -1;
  MPI_Sendrecv(&rank, 1, MPI_INT, (rank + 1) % size, 0, &from, 1, MPI_INT, (rank + size - 1) % size, 0, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  printf("rank %d heard of %d, sum %d\\n", rank, from, sum);
  MPI_Finalize();
}
"""


def alone(host: Host, folder: Path) -> tuple[str, ...]:
    return (*host.enter, "sh", "-ec", _ALONE, "alone", str(folder), host.name, str(CHECKOUT))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three hosts of their own, each with a ``docker0`` of the same address, as Docker makes it."""
    with Site.open({"m": Lan("10.7.5", 3)}, tmp_path_factory.mktemp("mpi-site")) as site:
        for host in site.hosts.values():
            for words in ("link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"):
                subprocess.run(["ip", "-n", host.namespace, *words.split()], check=True)
        yield site


@pytest.fixture(scope="module")
def shared(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Their cluster."""
    require_program("mpirun", "openmpi-bin")
    with open_folder("mpi-") as folder, Cluster(folder, HUB_ADDRESS, site.hub, ("--probe-interval", "4s")) as cluster:
        (folder / "token").touch(0o600)
        (folder / "token").write_text(cluster.run("token", "create", "--uses", "0").text)
        for name, host in site.hosts.items():
            (folder / name).mkdir()
            cluster.add(name, alone(host, folder), run=("--task-user", str(USERS[name])))
        cluster.await_networks(list(site.hosts))
        yield cluster


def run(cluster: Cluster, folder: Path, *commands: str) -> list[str]:
    """A task in which rank 0 executes ``commands``; what it said, sorted."""
    if not (folder / "prog").exists():
        (folder / "prog").write_text('#!/bin/sh\necho "$(hostname) $(pwd -P) $1 $(cat mine) $(id -u)"\n')
        (folder / "prog").chmod(0o755)
    lines = ['hostname > "$DSTACK_WORKING_DIR/mine"', '[ "$DSTACK_NODE_RANK" = 0 ] || exec sleep infinity', *commands]
    task = "type: task\nname: mpi\nnodes: 3\nstop_criteria: master-done\nfiles: [prog]\ncommands:\n"
    (folder / "task.yml").write_text(task + "".join(f"  - |\n    {line}\n" for line in lines))
    job = cluster.submit(str(folder / "task.yml"))
    code = cluster.wait(job, timeout=60)
    said = cluster.logs(job, 0).decode()
    assert code == 0, said
    # Open MPI 4.1 now and then says that it was late to move a process into a group of its own; it does no harm.
    return sorted(line for line in said.splitlines() if "setpgid" not in line)


@pytest.mark.parametrize(
    "words",
    [
        "mpirun --hostfile $DSTACK_MPI_HOSTFILE ./prog $PWD",
        # As dstack's own documentation has it.
        "mpirun --hostfile $DSTACK_MPI_HOSTFILE --mca btl_tcp_if_exclude lo,docker0 ./prog $PWD",
        "mpirun --hostfile $DSTACK_MPI_HOSTFILE --mca btl_tcp_if_include eth0 $PWD/prog $PWD",
    ],
)
def test_programs_run_in_each_hosts_own_directory(cluster: Cluster, tmp_path: Path, words: str) -> None:
    said = [line.split() for line in run(cluster, tmp_path, words)]
    assert [(line[0], line[3]) for line in said] == [(name, name) for name in ("m1", "m2", "m3")]
    for host, where, started_from, _, user in said:
        assert user == str(USERS[host])
        assert started_from.startswith("/tmp/rallypoint-j-")
        assert where.startswith(f"{cluster.agents[host].state}/work/")


def test_a_directory_inside_of_it_is_each_hosts_own_too(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    said = run(
        cluster,
        tmp_path,
        "mpirun --hostfile $DSTACK_MPI_HOSTFILE mkdir sub",
        "cd sub",
        ("mpirun --hostfile $DSTACK_MPI_HOSTFILE sh -c 'echo $(hostname) $(cat ../mine) $(basename $PWD)'"),
    )
    assert said == ["m1 m1 sub", "m2 m2 sub", "m3 m3 sub"]


def test_mpi_keeps_off_bridges_and_takes_the_users_own_choice(cluster: Cluster, tmp_path: Path) -> None:
    require_program("mpicc", "libopenmpi-dev")
    (tmp_path / "ring.c").write_text(_RING)
    subprocess.run(["mpicc", "-o", "prog", "ring.c"], cwd=tmp_path, check=True)
    plain = "mpirun --hostfile $DSTACK_MPI_HOSTFILE"
    ring = [f"rank {rank} heard of {(rank - 1) % 3}, sum 3" for rank in range(3)]
    for choice in ("", "--mca btl_tcp_if_exclude lo,docker0", "--mca btl_tcp_if_include eth0"):
        assert run(cluster, tmp_path, f"{plain} {choice} ./prog") == ring
