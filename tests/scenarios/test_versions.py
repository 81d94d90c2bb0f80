"""Agents, coordinators and commands of other releases: what works, what is drained, and what is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rallypoint.v1 import types_pb2 as pb
from rallypoint.version import PROTOCOL_VERSION, __version__

from coordinator.client import Client
from coordinator.failures import Refused
from tests.fakes import as_protocol
from tests.multihost.cluster import Cluster
from tests.multihost.processes import lives
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

AS = (sys.executable, as_protocol.__file__)
MAJOR, MINOR = map(int, PROTOCOL_VERSION.split("."))
WORK = "echo $$ >> {0}/pids; until [ -e {0}/go ]; do sleep 0.1; done; echo all said; exit 5"


def minor(more: int) -> str:
    return f"{MAJOR}.{MINOR + more}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two hosts of this release."""
    cluster = Cluster(tmp_path, options=("--heartbeat", "1s"))
    with cluster:
        for name in ("one", "two"):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["one", "two"])
        yield cluster
        cluster.stop_all()


def become(cluster: Cluster, name: str, version: str) -> None:
    """Replace a host's agent by one of a release that speaks ``version``, as an upgrade does; wait for contact."""
    agent = cluster.agents[name]
    said = log_of(cluster, name).count("session.")
    assert agent.program.stop() == 0
    options = agent.program.command[list(agent.program.command).index("run") :]
    agent.program.command = [*AS, version, "agent", *options]
    agent.program.start()
    eventually(lambda: log_of(cluster, name).count("session.") > said, what="contact")


def log_of(cluster: Cluster, name: str) -> str:
    return (cluster.agents[name].folder / "agent.log").read_text()


def begin(cluster: Cluster, folder: Path) -> tuple[str, str, int]:
    """A job of one node: its id, its host, its process."""
    job = cluster.shell(WORK.format(folder), "--placement", "any")
    pids = folder / "pids"
    eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), what="the start")
    cluster.await_state(job, "running")
    return job, cluster.nodes(job)[0]["host_name"], int(pids.read_text())


@pytest.mark.parametrize("more", [-1, 1])
def test_one_minor_apart_works(cluster: Cluster, tmp_path: Path, more: int) -> None:
    job, host, pid = begin(cluster, tmp_path)
    become(cluster, host, minor(more))
    assert lives(pid)
    (tmp_path / "go").touch()
    assert cluster.wait(job) == 5
    assert cluster.hosts()[host]["warning"] is None
    both = cluster.shell("true", "--nodes", "2")
    assert cluster.wait(both) == 0
    assert len({node["host_name"] for node in cluster.nodes(both)}) == 2


@pytest.mark.parametrize(("ours", "theirs", "behind"), [(0, 2, "coordinator"), (2, 0, "agent")])
def test_a_host_two_minors_apart_is_drained_and_what_runs_ends_well(
    cluster: Cluster, tmp_path: Path, ours: int, theirs: int, behind: str
) -> None:
    job, host, pid = begin(cluster, tmp_path)
    other = next(name for name in cluster.agents if name != host)
    if ours:
        cluster.coordinator.stop()
        cluster.serves = (*AS, minor(ours), "coordinator")
        cluster.start()
        become(cluster, other, minor(ours))
    else:
        become(cluster, host, minor(theirs))
    said = f"speaks protocol {minor(theirs)}, this coordinator"
    eventually(lambda: said in (cluster.hosts()[host]["warning"] or ""), what="a warning")
    warning = cluster.hosts()[host]["warning"]
    assert f"{minor(ours)}: upgrade the {behind}" in warning
    assert cluster.hosts()[host]["state"] == "online"
    # No new work: what needs both hosts waits, and says for what.
    pair = cluster.shell("true", "--nodes", "2")
    assert said in cluster.run("explain", pair).text
    assert cluster.nodes(pair) == []
    alone = cluster.shell("true", "--nodes", "2", "--placement", "any")
    assert cluster.wait(alone) == 0
    assert {node["host_name"] for node in cluster.nodes(alone)} == {other}
    # What runs goes on to its end, which is reported with all its output.
    assert lives(pid)
    (tmp_path / "go").touch()
    assert cluster.wait(job) == 5
    assert cluster.logs(job, 0) == b"all said\n"
    assert "session.drained" in log_of(cluster, host)
    # The upgrade that was asked for ends it.
    become(cluster, host, minor(ours))
    assert cluster.wait(pair) == 0
    assert cluster.hosts()[host]["warning"] is None


def test_another_major_is_refused_with_the_reason_and_what_runs_keeps_its_lease(
    cluster: Cluster, tmp_path: Path
) -> None:
    job, host, pid = begin(cluster, tmp_path)
    become(cluster, host, f"{MAJOR + 1}.0")
    eventually(lambda: "install the same release on both" in log_of(cluster, host), what="a reason")
    assert f"speaks protocol {MAJOR + 1}.0, this coordinator" in log_of(cluster, host)
    assert "host.refused" in (tmp_path / "coordinator.log").read_text()
    assert cluster.agents[host].program.ended() is None, "it waits for the upgrade"
    assert lives(pid)
    become(cluster, host, PROTOCOL_VERSION)
    eventually(lambda: cluster.hosts()[host]["state"] == "online", what="the host in contact")
    assert lives(pid)
    (tmp_path / "go").touch()
    assert cluster.wait(job) == 5


def test_a_command_asks_for_what_this_coordinator_does_not_know(cluster: Cluster) -> None:
    spec = pb.JobSpec(name="newer", nodes=1, argv=["true"], resources=pb.Resources(cpus=pb.IntRange(min=1)))
    # A field that a later release may have: to pass it over in silence would run something else than was asked for.
    spec.resources.MergeFromString(bytes([0xFA, 0x3F, 0x01, 0x07]))
    with Client.from_context(cluster.context) as client:
        for ask in (client.submit, client.plan):
            with pytest.raises(Refused) as refused:
                ask(spec)
            text = str(refused.value)
            assert f"this coordinator (release {__version__}) {PROTOCOL_VERSION} does not know" in text
            assert "(JobSpec.resources field 1023)" in text
            assert f"the caller (release {__version__}) speaks {PROTOCOL_VERSION}: upgrade the coordinator" in text
        with pytest.raises(Refused, match=r"does not know the call PauseJob; the caller \(release .*\) speaks"):
            client._lines.ask(lambda to: to.channel.unary_unary("/rallypoint.v1.JobService/PauseJob"), b"")
    assert cluster.run("ps", "--all", "--json").json["jobs"] == []
