"""Coordinator and agents that die and come back, with work on real hosts going on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# Counts as long as the file "go" is not there; a second run of the node would begin anew, and show.
COUNTING = """
    echo "pid $$"
    until [ -e "$HOME/../../go" ]; do echo tick; sleep 0.1; done
    echo "end of $DSTACK_NODE_RANK"
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    """Two hosts of its own for what is not to disturb the shared cluster."""
    (tmp_path / "site").mkdir()
    with Site.open({"a": Lan("10.7.1", 2)}, tmp_path / "site") as site:
        cluster = Cluster(tmp_path, HUB_ADDRESS, site.hub)
        with cluster:
            for host in site.hosts.values():
                cluster.add(host.name, host.enter)
            cluster.await_networks(["a1", "a2"])
            yield cluster


def pids(cluster: Cluster, job: str) -> list[bytes]:
    return [cluster.await_output(job, rank, b"tick").splitlines()[0] for rank in range(2)]


def finish(cluster: Cluster, job: str, before: list[bytes]) -> None:
    """Let the job end; check that both nodes ran once, with the same processes, and that no output is lost."""
    (cluster.folder / "go").touch()
    assert cluster.wait(job, timeout=40) == 0
    for rank, node in enumerate(cluster.nodes(job)):
        lines = cluster.logs(job, rank).splitlines()
        assert lines[0] == before[rank]
        assert lines[-1] == f"end of {rank}".encode()
        assert set(lines[1:-1]) == {b"tick"}
        assert int(node["attempt"]) == 1
    (cluster.folder / "go").unlink()


@pytest.mark.parametrize("placement", ["any", "cluster"])
def test_a_killed_coordinator_comes_back_and_the_job_ends_well(small: Cluster, placement: str) -> None:
    job = small.shell(COUNTING, "--nodes", "2", "--placement", placement)
    before = pids(small, job)
    small.coordinator.kill()
    small.start()
    eventually(lambda: all(host["state"] == "online" for host in small.hosts().values()), what="hosts back")
    finish(small, job, before)


def test_nodes_that_end_while_the_coordinator_is_away_are_known_afterwards(small: Cluster) -> None:
    job = small.shell(COUNTING + "exit $((5 + DSTACK_NODE_RANK))", "--nodes", "2", "--placement", "any")
    running = [int(line.split()[1]) for line in pids(small, job)]
    small.coordinator.kill()
    (small.folder / "go").touch()
    eventually(lambda: not any(lives(pid) for pid in running), what="the end of both nodes")
    small.start()
    assert small.wait(job, timeout=40) in (5, 6)
    assert [node["exit_code"] for node in small.nodes(job)] == [5, 6]
    assert [small.logs(job, rank).splitlines()[-1] for rank in range(2)] == [b"end of 0", b"end of 1"]


def test_a_following_submit_lives_through_a_restart(small: Cluster) -> None:
    with small.submitting("--nodes", "2", "--name", "followed", "--", "sh", "-c", COUNTING) as submit:
        pids(small, "followed")
        small.coordinator.kill()
        small.start()
        (small.folder / "go").touch()
        out, said = submit.communicate(timeout=60)
    assert submit.returncode == 0, said
    lines = out.splitlines()
    assert lines.count("[0] end of 0") == lines.count("[1] end of 1") == 1
    assert len([line for line in lines if "pid" in line]) == 2


def test_a_killed_agent_finds_its_tasks_again(small: Cluster) -> None:
    job = small.shell(COUNTING, "--nodes", "2")
    before = pids(small, job)
    agent = small.agents["a1"].program
    agent.kill()
    agent.start()
    finish(small, job, before)


def test_an_agent_that_is_stopped_and_started_leaves_its_tasks_alone(small: Cluster) -> None:
    job = small.shell(COUNTING, "--nodes", "2", "--placement", "any")
    before = pids(small, job)
    for agent in small.agents.values():
        assert agent.program.stop() == 0
    for agent in small.agents.values():
        agent.program.start()
    finish(small, job, before)


def test_a_coordinator_that_is_stopped_leaves_tasks_alone(small: Cluster) -> None:
    job = small.shell(COUNTING, "--nodes", "2")
    before = pids(small, job)
    assert small.coordinator.stop() == 0
    small.start()
    finish(small, job, before)
