"""The site that most tests share: networks ``a`` of 4 hosts and ``b`` of 2, their agents, a coordinator."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site

NETWORKS = {"a": Lan("10.7.1", 4), "b": Lan("10.7.2", 2)}

# What an agent that itself runs inside some cluster's job has around it, and must keep from its nodes.
FOREIGN = {
    "MASTER_ADDR": "192.0.2.7",
    "MASTER_PORT": "29500",
    "DSTACK_MASTER_NODE_IP": "192.0.2.7",
    "DSTACK_NODES_IPS": "192.0.2.7\n192.0.2.8",
    "DSTACK_MPI_HOSTFILE": "/dstack/hostfile",
    "NCCL_SOCKET_IFNAME": "eth9",
    "GLOO_SOCKET_IFNAME": "eth9",
    "OMPI_MCA_plm_rsh_agent": "ssh",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "PMIX_RANK": "3",
    "SLURM_PROCID": "3",
    "DSTACK_SECRET": "of-the-agents-owner",
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The hosts."""
    with Site.open(NETWORKS, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def shared(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster on them, started once."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, HUB_ADDRESS, site.hub, ("--probe-interval", "4s"))
    with cluster:
        for name, host in site.hosts.items():
            place = ["--backend", f"cloud-{host.network}", "--region", f"region-{host.network}"]
            cluster.add(name, host.enter, join=place, env=FOREIGN)
        cluster.await_networks(["a1", "a2", "a3", "a4"], ["b1", "b2"])
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared cluster; what a test leaves running is ended after it."""
    yield shared
    shared.stop_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of the coordinator and the agents to a failure."""
    report = yield
    if report.failed and report.when != "teardown":
        clusters = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Cluster)]
        for cluster in {id(cluster): cluster for cluster in clusters}.values():
            report.sections.append(("coordinator and agents", cluster.report()))
    return report


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the examples."""
    return Path(__file__).parents[2] / "docs" / "examples"
