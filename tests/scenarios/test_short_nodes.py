"""Many short nodes, of which a host has some in hand: never more of them at a time than it has CPUs, each once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import kill_all_under
from tests.support import eventually

NODES = 400
SCRIPT = (
    'echo "start $DSTACK_NODE_RANK" >>"$EVIDENCE"; echo "$DSTACK_NODE_RANK"; echo "end $DSTACK_NODE_RANK" >>"$EVIDENCE"'
)

pytestmark = pytest.mark.timeout(120)


def test_they_run_once_each_though_coordinator_and_agent_die_meanwhile(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    evidence.touch()
    try:
        with Cluster(tmp_path) as cluster:
            agent = cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
            eventually(lambda: cluster.hosts()["one"]["state"] == "online", what="the host")
            job = cluster.shell(SCRIPT, "--nodes", str(NODES), "--placement", "any", "--env", f"EVIDENCE={evidence}")
            eventually(lambda: ended(evidence) > NODES // 8, what="some ends")
            cluster.coordinator.kill()
            cluster.coordinator.start()
            eventually(lambda: ended(evidence) > NODES // 2, what="half of the ends")
            agent.program.kill()
            agent.program.start()
            assert cluster.wait(job) == 0
            counts = Counter(line.split()[0] for line in evidence.read_text().splitlines())
            assert counts == {"start": NODES, "end": NODES}
            assert {int(line.split()[1]) for line in evidence.read_text().splitlines()} == set(range(NODES))
            assert most_at_once(evidence) <= (os.cpu_count() or 1)
            assert cluster.logs(job, NODES - 1) == f"{NODES - 1}\n".encode()
    finally:
        kill_all_under(tmp_path)


def ended(evidence: Path) -> int:
    """How many nodes have ended."""
    return evidence.read_text().count("end ")


def most_at_once(evidence: Path) -> int:
    """The most nodes that ran at a time."""
    now = most = 0
    for line in evidence.read_text().splitlines():
        now += 1 if line.startswith("start") else -1
        most = max(most, now)
    return most
