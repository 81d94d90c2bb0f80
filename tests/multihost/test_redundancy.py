"""`redundancy` on real hosts of two providers: the first success wins, whatever becomes of the others."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# Each copy ends when the file of its own job and backend is there, with the code that stands in it.
TASK = """
type: task
name: {name}
placement: any
redundancy: 2
stop_duration: 5s
commands:
  - echo "pid $$ attempt $RALLYPOINT_ATTEMPT on $RALLYPOINT_BACKEND"
  - until [ -s {folder}/{name}.$RALLYPOINT_BACKEND ]; do sleep 0.1; done
  - echo "end on $RALLYPOINT_BACKEND"
  - exit $(cat {folder}/{name}.$RALLYPOINT_BACKEND)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two hosts of one provider and one of another, beside each other on this machine."""
    cluster = Cluster(tmp_path_factory.mktemp("providers"))
    with cluster:
        for name, backend in (("east1", "east"), ("east2", "east"), ("west", "west")):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"], join=["--backend", backend])
        eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, what="hosts online")
        yield cluster


def submit(cluster: Cluster, name: str) -> tuple[str, dict[str, int], dict[str, int]]:
    """A job with both copies running: its id, the pids by backend, the attempts by backend."""
    path = cluster.folder / f"{name}.yml"
    path.write_text(TASK.format(name=name, folder=cluster.folder))
    job = cluster.submit(str(path))
    said: dict[str, tuple[int, int]] = {}
    for attempt in ("1", "2"):

        def found(attempt: str = attempt) -> re.Match[bytes] | None:
            output = cluster.run("logs", job, "--node", "0", "--attempt", attempt, check=False).out
            return re.search(rb"pid (\d+) attempt (\d+) on (\w+)", output)

        pid, number, backend = eventually(found, what=f"output of attempt {attempt}").groups()
        said[backend.decode()] = (int(pid), int(number))
    assert sorted(said) == ["east", "west"]
    return job, {b: pid for b, (pid, _) in said.items()}, {b: number for b, (_, number) in said.items()}


def finish(cluster: Cluster, name: str, backend: str, code: int) -> None:
    """Let the copy of job ``name`` on a backend end."""
    part = cluster.folder / f"{name}.part"
    part.write_text(f"{code}\n")
    part.rename(cluster.folder / f"{name}.{backend}")


@pytest.mark.parametrize("winner", ["east", "west"])
def test_the_first_success_wins_and_the_other_copy_is_stopped(cluster: Cluster, winner: str) -> None:
    name = f"won-by-{winner}"
    job, pids, attempts = submit(cluster, name)
    loser = "west" if winner == "east" else "east"
    (node,) = cluster.nodes(job)
    assert {(c["attempt"], c["state"]) for c in node["copies"]} == {(1, "running"), (2, "running")}
    finish(cluster, name, winner, 0)
    assert cluster.wait(job, timeout=40) == 0
    (node,) = cluster.nodes(job)
    assert (node["state"], node["exit_code"], node["attempt"]) == ("done", 0, attempts[winner])
    assert node["host_name"].startswith(winner)
    assert node["copies"] == []
    assert not lives(pids[loser]), "the job ended while a copy of it still ran"
    # The winner's output is the node's.
    assert cluster.logs(job, 0).splitlines()[-1] == f"end on {winner}".encode()
    assert cluster.hosts()["west"]["allocations"] == []


def test_a_copy_that_fails_does_not_fail_the_node(cluster: Cluster) -> None:
    job, pids, attempts = submit(cluster, "survives")
    finish(cluster, "survives", "east", 3)
    # West's may have led before: the copy leads that was first seen running.
    node = eventually(lambda: [n for n in cluster.nodes(job) if n["reason"]], what="an end that is told")[0]
    assert node["host_name"] == "west"
    assert re.fullmatch(rf"attempt {attempts['east']} on east\d: exit code 3", node["reason"])
    assert node["state"] == "running"
    assert lives(pids["west"])
    finish(cluster, "survives", "west", 0)
    assert cluster.wait(job, timeout=40) == 0
    assert int(cluster.nodes(job)[0]["attempt"]) == attempts["west"]


def test_what_can_not_be_had_is_said_before_and_runs_with_less(cluster: Cluster) -> None:
    cluster.run("host", "cordon", "west")
    path = cluster.folder / "alone.yml"
    path.write_text(TASK.format(name="alone", folder=cluster.folder))
    said = cluster.run("submit", "--dry-run", str(path)).text
    assert "1 node would start now" in said
    assert "2 copies of each node asked, 1 backend fits (east): runs with 1" in said
    job = cluster.submit(str(path))
    cluster.await_state(job, "running")
    assert "runs with 1" in cluster.run("explain", job).text
    # A copy starts as soon as there is a backend for it.
    cluster.run("host", "resume", "west")
    eventually(lambda: len(cluster.nodes(job)[0]["copies"]) == 2, what="the second copy")
    cluster.run("stop", job)
    assert cluster.wait(job, timeout=40) == 76
