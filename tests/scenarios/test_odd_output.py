"""Output as programs should not write it: emptied, sought in, binary, deleted under them. Nothing hangs or mixes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One host."""
    with Cluster(tmp_path_factory.mktemp("odd")) as one:
        one.add("one", run=["--peer-listen", "127.0.0.1:0"])
        one.await_networks(["one"])
        yield one


def python(cluster: Cluster, program: str) -> str:
    """Submit a program; the job's id."""
    return cluster.submit("--", sys.executable, "-c", program)


def test_a_program_that_seeks_writes_at_the_end_all_the_same(cluster: Cluster) -> None:
    job = python(cluster, "import os; os.write(1, b'first '); os.lseek(1, 0, 0); os.write(1, b'second')")
    assert cluster.wait(job) == 0
    assert cluster.run("logs", job, "-f").out == b"first second"


def test_all_bytes_arrive_as_they_are(cluster: Cluster) -> None:
    job = python(cluster, "import os; os.write(1, bytes(range(256)) * 300 + b'\\0' * 10000)")
    assert cluster.wait(job) == 0
    assert cluster.run("logs", job, "-f").out == bytes(range(256)) * 300 + b"\0" * 10000


def test_a_program_that_empties_its_output_loses_nothing_that_was_sent(cluster: Cluster, tmp_path: Path) -> None:
    go, end = tmp_path / "go", tmp_path / "end"
    job = python(
        cluster,
        f"""
import os, time
def wait(path):
    while not os.path.exists(path): time.sleep(0.02)
os.write(1, b"before the cut\\n")
wait({str(go)!r})
os.ftruncate(1, 0)
os.write(1, b"after\\n")
wait({str(end)!r})
os.write(1, b"the end\\n")
""",
    )
    cluster.await_output(job, 0, b"before the cut")
    go.touch()
    assert cluster.await_output(job, 0, b"after\n") == b"before the cut\nafter\n"
    end.touch()
    assert cluster.wait(job) == 0
    assert cluster.await_output(job, 0, b"the end\n") == b"before the cut\nafter\nthe end\n"


def test_an_output_file_that_was_deleted_holds_nobody_up(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = cluster.shell(f"echo before; until [ -e {go} ]; do sleep 0.05; done; echo lost; exit 3")
    cluster.await_output(job, 0, b"before")
    (cluster.agents["one"].state / "logs" / f"{job}.0.1.log").unlink()
    go.touch()
    assert cluster.wait(job) == 3
    assert cluster.run("logs", job, "-f").out == b"before\n"


def test_the_last_lines_of_each_node(cluster: Cluster) -> None:
    job = cluster.shell("for i in 1 2 3 4; do echo line $i; done", "--nodes", "2", "--placement", "any")
    assert cluster.wait(job) == 0
    lines = cluster.run("logs", job, "-f", "--tail", "2").text.splitlines()
    assert sorted(lines) == ["[0] line 3", "[0] line 4", "[1] line 3", "[1] line 4"]
