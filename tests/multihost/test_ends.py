"""How jobs end over real hosts: a gang as a whole and at once, trees with their grandchildren, a user who goes away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]


def test_one_rank_exits_3_and_its_peers_are_stopped_at_once(cluster: Cluster) -> None:
    """One peer ends when asked, one ignores it and is killed, and the command ends with the failed rank's code."""
    script = """
        case "$DSTACK_NODE_RANK" in
          0) echo ready; sleep 1000 ;;
          1) trap '' TERM; echo ready; while :; do sleep 0.2; done ;;
          2) echo ready; while [ ! -e "$HOME/../../go" ]; do sleep 0.05; done; exit 3 ;;
        esac
    """
    words = ["--nodes", "3", "--name", "one-fails", "--", "sh", "-c", script]
    with cluster.submitting(*words) as submit:
        for rank in range(3):
            cluster.await_output("one-fails", rank, b"ready")
        began = time.monotonic()
        (cluster.folder / "go").touch()
        _, said = submit.communicate(timeout=30)
        took = time.monotonic() - began
    (cluster.folder / "go").unlink()

    assert submit.returncode == 3
    assert took <= 5.0
    nodes = cluster.nodes("one-fails")
    assert [node["state"] for node in nodes] == ["stopped", "stopped", "failed"]
    assert re.search(rf"node 2 on {nodes[2]['host_name']}: exit code 3", said)


def test_any_nodes_do_not_touch_each_other(cluster: Cluster) -> None:
    script = '[ "$DSTACK_NODE_RANK" != 1 ] || exit 4; sleep 1; echo survived'
    job = cluster.shell(script, "--placement", "any", "--nodes", "3")
    assert cluster.wait(job) == 4
    assert [node["state"] for node in cluster.nodes(job)] == ["done", "failed", "done"]
    assert cluster.logs(job, 2) == b"survived\n"


def test_stop_ends_grandchildren_and_daemons_too(cluster: Cluster) -> None:
    """A grandchild in a session of its own that ignores TERM, and one whose parent is gone."""
    script = """
        setsid sh -c 'trap "" TERM HUP; echo pid $$; sleep 1000; sleep 1000' &
        (setsid sleep 1000 & echo pid $!)
        echo pid $$; echo ready
        wait
    """
    job = cluster.shell(script, "--placement", "any", "--stop-duration", "1s")
    said = cluster.await_output(job, 0, b"ready")
    eventually(lambda: len(re.findall(rb"pid \d+", cluster.logs(job, 0))) == 3, what="all three pids")
    pids = [int(pid) for pid in re.findall(rb"pid (\d+)", cluster.logs(job, 0))]
    assert len(pids) == 3, said
    assert all(lives(pid) for pid in pids)

    cluster.run("stop", job)
    assert cluster.wait(job) == 76
    eventually(lambda: not any(lives(pid) for pid in pids), 10.0, "the end of the whole tree")


@pytest.mark.parametrize("placement", ["any", "cluster"])
def test_a_stop_signal_can_be_handled(cluster: Cluster, placement: str) -> None:
    script = "trap 'echo saved; exit 0' INT; echo ready; while :; do sleep 0.1; done"
    job = cluster.shell(script, "--placement", placement)
    cluster.await_output(job, 0, b"ready")
    cluster.run("stop", job, "--signal", "INT")
    assert cluster.wait(job) == 76
    assert cluster.logs(job, 0) == b"ready\nsaved\n"


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(cluster: Cluster) -> None:
    words = ["--placement", "any", "--name", "left", "--", "sh", "-c", "echo began; sleep 1000"]
    with cluster.submitting(*words) as submit:
        assert submit.stdout is not None
        assert submit.stdout.readline() == "began\n"
        submit.send_signal(signal.SIGINT)
        _, said = submit.communicate(timeout=10)

    job = cluster.show("left")["job"]
    assert submit.returncode == 130
    assert f"coordinator logs -f {job['id']}" in said
    assert f"coordinator stop {job['id']}" in said
    assert "Traceback" not in said
    assert job["state"] == "running"


def test_a_job_that_ends_at_once_has_its_times(cluster: Cluster) -> None:
    job = cluster.shell("true", "--nodes", "2")
    assert cluster.wait(job) == 0
    times = cluster.show(job)["job"]
    assert times["submitted_at"] <= times["started_at"] <= times["ended_at"]


def test_max_duration_ends_a_node(cluster: Cluster) -> None:
    job = cluster.shell("sleep 1000", "--placement", "any", "--max-duration", "1s", "--stop-duration", "1s")
    assert cluster.wait(job, timeout=20) == 124
    assert "max_duration" in cluster.nodes(job)[0]["reason"]


def test_output_comes_back_as_it_was_written(cluster: Cluster) -> None:
    """Five megabytes of every byte, without a line's end for long stretches, and from two nodes at once."""
    script = "head -c 5000000 /dev/urandom | tee copy; sha256sum < copy > sum"
    job = cluster.shell(f'{script}; cp sum "$HOME/sum-$DSTACK_NODE_RANK"', "--nodes", "2", "--placement", "any")
    assert cluster.wait(job) == 0
    for node in cluster.nodes(job):
        rank = int(node["rank"])
        wrote = (cluster.agents[node["host_name"]].home / f"sum-{rank}").read_text().split()[0]
        got = cluster.logs(job, rank)
        assert len(got) == 5_000_000
        summed = subprocess.run(["sha256sum"], input=got, capture_output=True, check=True)
        assert summed.stdout.split()[0].decode() == wrote


def test_a_following_reader_gets_all_output_and_the_end(cluster: Cluster) -> None:
    job = cluster.shell("for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done", "--placement", "any")
    assert cluster.run("logs", "-f", job).text == "".join(f"line {i}\n" for i in range(1, 6))
    assert cluster.show(job)["job"]["state"] == "done"


def test_tasks_do_not_see_the_agents_files_open(cluster: Cluster) -> None:
    job = cluster.shell("ls -l /proc/self/fd", "--placement", "any")
    assert cluster.wait(job) == 0
    listed = [line for line in cluster.logs(job, 0).decode().splitlines() if "->" in line]
    assert len(listed) == 4, listed  # 0, 1, 2 and the folder that ls reads
    assert os.devnull in listed[0]
