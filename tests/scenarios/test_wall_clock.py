"""Wall clocks that jump by a day, under a real coordinator and real agents: nothing expires, nothing reorders.

The jumps are libfaketime's, which leaves alone the clock that nobody sets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import Program
from tests.support import eventually, missing

pytestmark = pytest.mark.timeout(150)

LIBRARIES = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
DAY = 86_400.0


class Clock:
    """The wall clock of the programs that are started with ``env``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.days = 0
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, days: int) -> None:
        """Jump to so many days from the true time."""
        self.days = days
        new = self._file.with_suffix(".new")
        new.write_text(f"{days:+d}d\n")
        new.rename(self._file)

    def now(self) -> float:
        return time.time() + self.days * DAY


@pytest.fixture
def clocks(tmp_path: Path) -> dict[str, Clock]:
    if not LIBRARIES:
        missing("libfaketime", "install it with: apt-get install faketime")
    return {name: Clock(tmp_path, name) for name in ("coordinator", "one", "two")}


@pytest.fixture
def cluster(tmp_path: Path, clocks: dict[str, Clock]) -> Iterator[Cluster]:
    """Two hosts; every machine has a wall clock of its own."""

    def program(command: Sequence[str], env: Mapping[str, str], log: Path) -> Program:
        return Program(command, {**clocks["coordinator"].env, **env}, log)

    cluster = Cluster(tmp_path, options=("--heartbeat", "1s"), program=program)
    with cluster:
        for name in ("one", "two"):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"], env=clocks[name].env)
        cluster.await_networks(["one", "two"])
        yield cluster
        cluster.stop_all()


def beats(cluster: Cluster, number: int) -> None:
    """Wait until every host was heard of so many times since now; all the while each is in contact."""
    for _ in range(number):
        seen = {name: host["last_seen_at"] for name, host in cluster.hosts().items()}

        def heard(seen: dict[str, float] = seen) -> bool:
            hosts = cluster.hosts()
            assert {host["state"] for host in hosts.values()} == {"online"}, "a host expired"
            return all(hosts[name]["last_seen_at"] != at for name, at in seen.items())

        eventually(heard, what="heartbeats")


def sessions(cluster: Cluster) -> int:
    return sum((agent.folder / "agent.log").read_text().count('"session.open"') for agent in cluster.agents.values())


JUMPS: list[dict[str, int]] = [
    {"coordinator": 1},
    {"coordinator": -1},
    {"coordinator": 0, "one": 1, "two": -1},
]


def test_jumps_of_a_day_end_nothing_and_reorder_nothing(
    cluster: Cluster, clocks: dict[str, Clock], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    until = f"echo $$; until [ -e {go} ]; do sleep 0.1; done; echo all said"
    limits = ("--max-duration", "1h")
    long = cluster.shell(until, "--nodes", "2", *limits)
    retry = tmp_path / "retry.yml"
    retry.write_text(
        "type: task\nname: waiting\nplacement: any\ncommands: [echo never]\n"
        "resources: {cpu: 64.., memory: 0.., disk: 0..}\nretry: {on_events: [no-capacity], duration: 1h}\n"
    )
    waiting = cluster.submit(str(retry), "--queue")
    pids = [cluster.await_output(long, rank, b"\n") for rank in range(2)]
    order = [long, waiting]
    for jump in JUMPS:
        for name, days in jump.items():
            clocks[name].set(days)
        beats(cluster, 1)
        # What is submitted now runs, and its times make sense by the coordinator's clock, whatever its hosts say.
        job = cluster.shell("sleep 0.3", "--nodes", "2", "--placement", "any")
        order.append(job)
        assert cluster.wait(job) == 0
        shown = cluster.show(job)
        for node in shown["nodes"]:
            at = (shown["job"]["submitted_at"], node["started_at"], node["ended_at"], clocks["coordinator"].now())
            assert list(at) == sorted(at), f"{jump}: {at}"
            assert node["ended_at"] - node["started_at"] < 60.0
    listed = [job["id"] for job in cluster.run("ps", "--all", "--json").json["jobs"]]
    assert listed == order[::-1], "newest first, whatever the clocks said"
    assert cluster.show(waiting)["job"]["state"] == "queued"
    assert sessions(cluster) == 2, "a session ended"
    go.touch()
    assert cluster.wait(long) == 0
    assert [cluster.logs(long, rank) for rank in range(2)] == [pid + b"all said\n" for pid in pids]
    for node in cluster.nodes(long):
        # Its clocks jumped while it ran: its time is what it was.
        assert 0 < node["ended_at"] - node["started_at"] < 140.0
        assert int(node["attempt"]) == 1


@pytest.mark.parametrize(("coordinators", "hosts"), [(-1, 0), (0, -1), (1, -1)])
def test_certificates_bear_clocks_a_day_off_also_for_new_connections(
    cluster: Cluster, clocks: dict[str, Clock], coordinators: int, hosts: int
) -> None:
    """Restarts of both sides while the clocks are off, in a cluster whose certificates are seconds old."""
    job = cluster.shell("echo began; sleep 600", "--placement", "any")
    cluster.await_output(job, 0, b"began")
    clocks["coordinator"].set(coordinators)
    for name in ("one", "two"):
        clocks[name].set(hosts)
    opened = sessions(cluster)
    assert cluster.coordinator.stop() == 0
    cluster.start()
    eventually(lambda: sessions(cluster) == opened + 2, 30.0, "new sessions")
    beats(cluster, 1)
    node = cluster.nodes(job)[0]
    assert (node["state"], int(node["attempt"])) == ("running", 1)
    assert cluster.run("submit", "--placement", "any", "--", "echo", "again").text == "again\n"
