"""Hosts cut off from their coordinator, silently: what runs there ends by its lease, and only then runs elsewhere.

Nodes write down when they live, so that two copies at once would show. Times are short ones of the same settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.multihost import faults
from tests.multihost.beats import Beats, now
from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

HEARTBEAT, LEASE, GRACE, MARGIN = 1.0, 5.0, 1.5, 1.0
SHORT = ("--heartbeat", "1s", "--suspect", "3s", "--lease", "5s", "--grace", "1.5", "--margin", "1s")
# What a busy machine may add to a kill, or to a reaction.
LATE = 2.0


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Five hosts of one network."""
    with Site.open({"a": Lan("10.7.1", 5)}, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def short(places: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on them with short times."""
    cluster = Cluster(tmp_path_factory.mktemp("short"), HUB_ADDRESS, places.hub, (*SHORT, "--probe-interval", "4s"))
    with cluster:
        for name, host in places.hosts.items():
            cluster.add(name, host.enter)
        yield cluster


@pytest.fixture
def cluster(short: Cluster) -> Iterator[Cluster]:
    """All hosts in contact and seen to reach each other; nothing is left running."""
    short.await_networks(list(short.agents))
    all_online(short)
    yield short
    short.stop_all()


def all_online(cluster: Cluster) -> float:
    """Wait until every host is in contact; how long that took, in seconds."""
    began = time.monotonic()
    eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, 30.0, "all hosts in contact")
    return time.monotonic() - began


def begin(cluster: Cluster, beats: Beats, *options: str) -> str:
    job = cluster.shell(beats.script, *options)
    nodes = int(cluster.show(job)["job"]["spec"]["nodes"])
    eventually(lambda: len(beats.lives()) == nodes, what="all nodes' start")
    cluster.await_state(job, "running")
    return job


def test_hosts_that_hear_or_say_nothing_lose_their_nodes_only_after_these_ended(
    places: Site, cluster: Cluster, tmp_path: Path
) -> None:
    beats = Beats(tmp_path, "any")
    job = begin(cluster, beats, "--nodes", "3", "--placement", "any", "--optimize", "spread")
    first = {life.rank: life for life in beats.lives()}
    assert len({life.host for life in first.values()}) == 3
    with ExitStack() as cuts:
        for rank, way in enumerate((faults.IN, faults.OUT, faults.BOTH)):
            cuts.enter_context(faults.silent(places, first[rank].host, way))
        cut = now()
        eventually(lambda: len(beats.lives()) == 6, 30.0, "the nodes elsewhere")
        ended, anew = ([life for life in beats.lives() if life.attempt == attempt] for attempt in (1, 2))
        for old, new in zip(ended, anew, strict=True):
            assert (old.rank, old.host) == (new.rank, first[old.rank].host)
            assert new.host not in {life.host for life in ended}, "placed on a host that is cut off"
            # The lease counts from the last heartbeat that was answered; what was told to end had its grace.
            assert old.told <= cut + LEASE + LATE
            assert GRACE - 0.5 <= old.last - old.told <= GRACE + LATE
            assert new.first >= cut - HEARTBEAT + LEASE + GRACE + MARGIN
        assert {cluster.hosts()[life.host]["state"] for life in ended} == {"lost"}
    all_online(cluster)
    # Back in contact, they report the ends of attempts that nobody waits for: harmless, and not repeated.
    beats.check_one_at_a_time()
    assert [(n["state"], int(n["attempt"])) for n in cluster.nodes(job)] == [("running", 2)] * 3
    beats.finish()
    assert cluster.wait(job) == 0
    beats.check_one_at_a_time()
    assert len(beats.lives()) == 6
    # The hosts take work again, all of them.
    again = cluster.shell("hostname", "--nodes", "5", "--placement", "any", "--optimize", "spread")
    assert cluster.wait(again) == 0
    assert {cluster.logs(again, rank).decode().strip() for rank in range(5)} == set(places.hosts)


@pytest.mark.parametrize("way", [faults.IN, faults.BOTH])
def test_a_group_is_formed_anew_when_a_members_host_is_cut_off(
    places: Site, cluster: Cluster, tmp_path: Path, way: str
) -> None:
    beats = Beats(tmp_path, way)
    job = begin(cluster, beats, "--nodes", "2")
    first = beats.lives()
    with faults.silent(places, first[0].host, way):
        eventually(lambda: len(beats.lives()) == 4, 40.0, "a second generation")
        beats.check_one_at_a_time()
        ended, anew = ([life for life in beats.lives() if life.attempt == attempt] for attempt in (1, 2))
        # All or none: no member of the new generation began before every one of the old had ended.
        assert max(life.last for life in ended) < min(life.first for life in anew)
        assert first[0].host not in {life.host for life in anew}
    all_online(cluster)
    assert [(n["state"], int(n["attempt"])) for n in cluster.nodes(job)] == [("running", 2)] * 2
    beats.finish()
    assert cluster.wait(job) == 0
    assert [life.attempt for life in beats.lives()] == [1, 2, 1, 2]


def test_a_node_that_ends_while_its_host_is_cut_off_for_less_than_a_lease_is_known(
    places: Site, cluster: Cluster, tmp_path: Path
) -> None:
    beats = Beats(tmp_path, "brief")
    job = cluster.shell(beats.script + "echo all said; exit 7", "--placement", "any")
    eventually(beats.lives, what="the start")
    (life,) = beats.lives()
    with faults.silent(places, life.host, faults.BOTH):
        beats.finish()
        eventually(lambda: beats.lives()[0].ended, what="the end")
    assert cluster.wait(job) == 7
    assert cluster.run("logs", "-f", job).text == "all said\n"
    assert [int(node["attempt"]) for node in cluster.nodes(job)] == [1]


def test_a_link_that_comes_and_goes_loses_nothing(places: Site, cluster: Cluster, tmp_path: Path) -> None:
    beats = Beats(tmp_path, "flapping")
    count = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo line $i; sleep 0.1; done & "
    job = begin(cluster, Beats(tmp_path, "flapping"), "--nodes", "2", "--placement", "any")
    counting = cluster.shell(count + "wait", "--placement", "any")
    eventually(lambda: cluster.nodes(counting), what="the counting node's start")
    host = cluster.nodes(counting)[0]["host_name"]
    states = set()
    until = time.monotonic() + 14.0
    while time.monotonic() < until:
        with faults.silent(places, host, faults.BOTH):
            states.add(cluster.hosts()[host]["state"])
            pause(1.5)
        pause(1.0)
    assert "lost" not in states
    assert cluster.wait(counting) == 0
    # The end came first; output follows as the link lets it.
    assert cluster.run("logs", "-f", counting).text == "".join(f"line {i}\n" for i in range(1, 151))
    beats.finish()
    assert cluster.wait(job) == 0
    assert [life.attempt for life in beats.lives()] == [1, 1]


def pause(seconds: float) -> None:
    """Let the link be as it is for so long: the length of a fault, not a wait for anything."""
    time.sleep(seconds)
