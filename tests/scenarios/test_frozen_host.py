"""A host that is out of contact: its work is stopped by its own lease, and only then runs elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

FAST = ("--heartbeat", "1s", "--suspect", "2s", "--lease", "4s", "--grace", "2s")
# Says who runs, and, ten times a second, that it still does: two copies at once would show as two writers at a time.
WORK = 'echo "$$ $RALLYPOINT_ATTEMPT" >> {0}/started; while true; do echo $$ > {0}/beat.$$; sleep 0.1; done'


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Cluster]:
    """Two hosts and short limits."""
    cluster = Cluster(tmp_path, options=FAST)
    with cluster:
        for name in ("one", "two"):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["one", "two"])
        yield cluster


def starts(folder: Path) -> list[list[str]]:
    path = folder / "started"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_a_frozen_agent_loses_its_node_only_after_the_node_has_ended(pair: Cluster, tmp_path: Path) -> None:
    job = pair.shell(WORK.format(tmp_path), "--placement", "any")
    eventually(lambda: starts(tmp_path), what="the node's start")
    (first,) = starts(tmp_path)
    host = pair.nodes(job)[0]["host_name"]
    agent = pair.agents[host].program
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        eventually(lambda: len(starts(tmp_path)) == 2 or not lives(int(first[0])), what="the end of the first copy")
        assert not lives(int(first[0])), "the second copy started while the first still ran"
        eventually(lambda: len(starts(tmp_path)) == 2, what="the second copy")
        assert starts(tmp_path)[1][1] == "2"
        assert pair.hosts()[host]["state"] == "lost"
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    eventually(lambda: pair.hosts()[host]["state"] == "online", what="the host to come back")
    assert len(starts(tmp_path)) == 2
    assert [node["state"] for node in pair.nodes(job)] == ["running"]
    pair.run("stop", job)
    pair.wait(job)
    assert not lives(int(starts(tmp_path)[1][0]))


def test_a_killed_agent_is_replaced_by_a_new_one_and_the_work_goes_on(pair: Cluster, tmp_path: Path) -> None:
    job = pair.shell(WORK.format(tmp_path), "--placement", "any")
    eventually(lambda: starts(tmp_path), what="the node's start")
    (first,) = starts(tmp_path)
    host = pair.nodes(job)[0]["host_name"]
    agent = pair.agents[host].program
    agent.kill()
    agent.start()
    eventually(lambda: (pair.agents[host].folder / "agent.log").read_text().count("session.open") == 2, what="contact")
    pair.run("stop", job)
    pair.wait(job)
    assert starts(tmp_path) == [first], "the node was started again"
    assert not lives(int(first[0]))
