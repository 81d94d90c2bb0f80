"""Lent machines: told to go, or taken back by their provider, they leave by themselves, and nothing runs twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.metadata import metadata
from tests.fakes.supervised import SupervisedHost
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# Only one may be in the room at a time; it takes a moment to leave.
ALONE = """
    mkdir {room} || { echo SECOND; exit 3; }
    trap 'sleep 0.3; rmdir {room}; echo bye; exit 0' TERM
    echo began; while true; do sleep 0.05; done
"""


def where(cluster: Cluster, job: str) -> list[tuple[str, str]]:
    return [(node["host_name"], node["state"]) for node in cluster.nodes(job)]


def test_lent_hosts_leave_by_themselves_and_their_work_goes_on_elsewhere(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    script = ALONE.replace("{room}", str(tmp_path / "room"))
    lent, spot, rack = (SupervisedHost(cluster, name, tmp_path / name) for name in ("lent", "spot", "rack"))
    with cluster, metadata() as provider:
        try:
            lent.join("--ephemeral", "--cpus", "1")
            lent.start()
            job = cluster.shell(script, "--placement", "any", "--stop-duration", "5s")
            cluster.await_output(job, 0, b"began")
            told = ["--cpus", "1", "--ephemeral"]
            spot.join(*told)
            asked = f'interruption_url = "{provider.url}/spot"\ninterruption_every = "0.2s"\n'
            (spot.state / "agent.toml").write_text(asked + 'interruption_header = "Metadata: true"\n')
            spot.start()

            stopped = lent.agent("stop")
            ended = "what runs here (1 node) is stopped first, to go on elsewhere: this is an ephemeral host\n"
            assert (stopped.returncode, stopped.stdout) == (0, f"{ended}the agent is stopped; nothing runs here\n")
            assert list(cluster.hosts()) == ["spot"], "it is out of the list when the command returns"
            eventually(lambda: where(cluster, job) == [("spot", "running")], what="the node on host spot")

            rack.join("--cpus", "1")
            rack.start()
            provider.status = 200
            eventually(lambda: where(cluster, job) == [("rack", "running")], what="the node on host rack")
            eventually(lambda: spot.supervisor is None, what="the end of spot's supervisor")
            assert provider.asked[0][2]["Metadata"] == "true"
            assert list(cluster.hosts()) == ["rack"]
            assert "its provider takes it back" in spot.agent("logs").stdout
            events = cluster.run("events").text
            assert "spot  drained  asked to be drained: its provider takes it back" in events
            assert "lent  removed  left: its agent was told to end" in events
            said = spot.agent("status")
            assert (said.returncode, "has left its cluster" in said.stdout) == (3, True)

            check_drain_of_its_own(cluster, rack, job)
            logs = b"".join(cluster.run("logs", job, "--attempt", str(n)).out for n in (1, 2, 3))
            assert (logs.count(b"began"), logs.count(b"bye"), b"SECOND" in logs) == (3, 3, False)
        finally:
            for host in (lent, spot, rack):
                host.close()


def check_drain_of_its_own(cluster: Cluster, rack: SupervisedHost, job: str) -> None:
    stopped = rack.agent("stop", "--drain")
    assert stopped.stdout == "waiting for 1 node to go\nthe agent is stopped; nothing runs here\n", stopped.stderr
    warning = cluster.hosts()["rack"]["warning"]
    assert warning == "drained by its own wish ('agent stop --drain' was run there): nothing is left on it"
    cluster.run("stop", job)
    rack.start()
    eventually(lambda: not cluster.hosts()["rack"]["cordoned"], what="work let in again")
