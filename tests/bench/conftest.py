"""Clusters on the loop-back to measure, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.client import Client
from tests.bench.results import Results
from tests.multihost.cluster import Cluster
from tests.multihost.processes import kill_all_under
from tests.support import eventually

_RESULTS = Results()


@contextmanager
def running(folder: Path, agents: int, options: Sequence[str] = ()) -> Iterator[Cluster]:
    """A coordinator with ``agents`` agents beside each other; ``options`` are theirs."""
    cluster = Cluster(folder)
    try:
        with cluster:
            names = [f"h{number}" for number in range(1, agents + 1)]
            for name in names:
                cluster.add(name, run=["--peer-listen", "127.0.0.1:0", *options])
            eventually(lambda: all(host["state"] == "online" for host in cluster.hosts().values()), what="all online")
            if agents > 1:
                cluster.await_networks(names)
            yield cluster
    finally:
        kill_all_under(folder)


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Iterator[Results]:
    """Where figures go; printed, and written to ``build/bench.json``."""
    yield _RESULTS
    _RESULTS.write(pytestconfig.rootpath / "build" / "bench.json")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if _RESULTS.figures:
        terminalreporter.section("measured")
        terminalreporter.write_line(_RESULTS.table())


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One host."""
    with running(tmp_path_factory.mktemp("one"), 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two hosts."""
    with running(tmp_path_factory.mktemp("two"), 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Six hosts."""
    with running(tmp_path_factory.mktemp("six"), 6) as cluster:
        yield cluster


@contextmanager
def client_of(cluster: Cluster) -> Iterator[Client]:
    """The client that programs import."""
    with Client.from_context(cluster.context) as client:
        yield client
