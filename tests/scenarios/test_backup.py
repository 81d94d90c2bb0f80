"""A coordinator whose machine is lost comes back from a backup that was taken while it ran."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import kill_all_under, lives
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

# Counts as long as the file "go" is not there; a second run of the node would begin anew, and show.
COUNTING = """
    echo "pid $$"
    until [ -e "$HOME/../../go" ]; do echo tick; sleep 0.1; done
    echo "end of $DSTACK_NODE_RANK"
"""
# A lease that outlasts the restore also on a busy machine, and no more: so long nothing is placed afterwards.
TIMES = ("--heartbeat", "1s", "--suspect", "5s", "--lease", "15s", "--grace", "1s")


def pid_of(cluster: Cluster, job: str, rank: int = 0) -> int:
    return int(cluster.await_output(job, rank, b"tick").splitlines()[0].split()[1])


def lose_and_restore(cluster: Cluster, backup: Path, without: str) -> None:
    """Start from the backup, and without the output of one job."""
    cluster.coordinator.kill()
    shutil.rmtree(cluster.data_dir)
    cluster.run("restore", str(backup), "--data-dir", str(cluster.data_dir))
    shutil.rmtree(cluster.data_dir / "logs" / without)
    cluster.start()


def test_hosts_come_back_work_goes_on_and_nothing_runs_twice(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, options=TIMES)
    backup = tmp_path / "backup.tar"
    try:
        with cluster:
            for name in ("one", "two"):
                cluster.add(name, run=["--peer-listen", "127.0.0.1:0", "--cpus", "8"])
            cluster.await_networks(["one", "two"])
            done, cut = (cluster.shell("echo said", "--placement", "any") for _ in range(2))
            assert [cluster.wait(job) for job in (done, cut)] == [0, 0]
            free = cluster.shell(COUNTING, "--placement", "any", "--nodes", "2")
            group = cluster.shell(COUNTING, "--nodes", "2")
            known = {(job, rank): pid_of(cluster, job, rank) for job in (free, group) for rank in range(2)}
            for job in (free, group):
                cluster.await_state(job, "running")
            words = ("backup", "--data-dir", str(cluster.data_dir), "--output", str(backup))
            assert cluster.run(*words).text == f"{backup}\n"

            later = cluster.shell(COUNTING, "--placement", "any")
            unknown = pid_of(cluster, later)
            lose_and_restore(cluster, backup, without=cut)

            eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, what="hosts back")
            eventually(lambda: not lives(unknown), what="the end of what is not known any more")
            assert cluster.run("show", later, check=False).code == 66
            assert all(lives(pid) for pid in known.values())
            new = cluster.shell("echo new", "--placement", "any")
            assert int(new.removeprefix("j-")) >= 1_000_000
            assert "restored from a backup" in cluster.run("explain", new).text
            assert cluster.wait(new, timeout=60) == 0
            assert [node["attempt"] for node in cluster.nodes(new)] == [100_001]

            (tmp_path / "go").touch()
            for job in (free, group):
                assert cluster.wait(job, timeout=40) == 0
                for rank, node in enumerate(cluster.nodes(job)):
                    assert node["attempt"] == 1
                    lines = cluster.logs(job, rank).splitlines()
                    assert lines[0] == f"pid {known[job, rank]}".encode()
                    assert lines[-1] == f"end of {rank}".encode()
                    assert set(lines[1:-1]) == {b"tick"}
            assert [cluster.run("logs", "--follow", job).out for job in (done, cut)] == [b"said\n", b""]
            # Of what the hosts did under numbers that are unknown now, nothing is left in the way.
            assert cluster.run("submit", "--", "echo", "well").text == "well\n"
    finally:
        kill_all_under(tmp_path)
