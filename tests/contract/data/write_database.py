"""Have the coordinator of the checkout that this runs in write a database with a bit of everything in it, as SQL text.

See README.md beside this file. ``python write_database.py NNNN > schema_NNNN.sql``, with the number of its schema.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.multihost.cluster import Cluster
from tests.multihost.processes import kill_all_under
from tests.support import eventually

BEGUN = "echo began; sleep 600"
DEAF = "trap '' TERM; echo began; while true; do sleep 1; done"
ANY = ("--placement", "any")
RETRIED = """\
type: task
name: retried
nodes: 2
placement: any
resources: {cpu: 1.., memory: 100MB.., disk: 1GB..}
retry: {on_events: [error], attempts: 3}
max_duration: 12h
stop_duration: 7s
priority: 5
env: [A=b]
commands:
  - echo began
  - '[ $DSTACK_NODE_RANK = 1 ] || [ $RALLYPOINT_ATTEMPT != 1 ] || exit 4'
  - sleep 600
"""
VARIANTS = """\
type: task
name: variants
nodes: 2
placement: any
resources: {cpu: 1..}
variants:
  - {name: large, precision: fp8, speed: 2.5, resources: {gpu: H100}}
  - {name: small, precision: fp32, resources: {gpu: 0}, env: {BATCH: 32}}
commands: [echo began, sleep 600]
"""


def write(folder: Path, schema: str) -> str:
    """Everything that a coordinator stores, which is then killed in the middle of it."""
    cluster = Cluster(folder)
    with cluster:
        _hosts(cluster)
        _ended(cluster)
        _alive(cluster)
        cluster.run("user", "create", "ada", "--role", "viewer")
        cluster.run("user", "create", "bob", "--role", "user")
        cluster.run("token", "create", "--uses", "3", "--label", "zone=b")
        if schema >= "0003":
            _since_0003(cluster)
        else:
            cluster.run("host", "cordon", "two")
        cluster.coordinator.kill()
        with closing(sqlite3.connect(cluster.data_dir / "coordinator.db")) as database:
            return "\n".join(database.iterdump()) + "\n"


def _hosts(cluster: Cluster) -> None:
    said = ["--backend", "rack", "--region", "r1", "--price", "1.5", "--label", "zone=a"]
    for name in ("one", "two", "three"):
        cluster.add(name, join=said, run=["--peer-listen", "127.0.0.1:0", "--cpus", "16"])
    cluster.await_networks(["one", "two", "three"])
    cluster.remove("three")
    cluster.await_networks(["one", "two"])


def _ended(cluster: Cluster) -> None:
    cluster.run("submit", "--name", "done-any", "--nodes", "2", *ANY, "--env", "SEED=7", "--", "echo", "hello")
    cluster.run("submit", "--name", "done-cluster", "--nodes", "2", "--", "sh", "-c", "echo $MASTER_ADDR")
    cluster.run("submit", "--name", "failed", *ANY, "--", "sh", "-c", "exit 3", check=False)
    stopped = cluster.shell(BEGUN, "--name", "stopped", *ANY)
    cluster.await_output(stopped, 0, b"began")
    cluster.run("stop", stopped)
    cluster.wait(stopped)


def _alive(cluster: Cluster) -> None:
    file = cluster.folder / "retried.yml"
    file.write_text(RETRIED)
    retried = cluster.submit(str(file))
    eventually(lambda: _attempts(cluster, retried) == [("running", 2), ("running", 1)], what="a second attempt")
    free = cluster.shell(BEGUN, "--name", "running-any", "--nodes", "2", *ANY)
    group = cluster.shell(BEGUN, "--name", "running-cluster", "--nodes", "2")
    for job in (free, group):
        for rank in range(2):
            cluster.await_output(job, rank, b"began")
        cluster.await_state(job, "running")
    stopping = cluster.shell(DEAF, "--name", "stopping", *ANY, "--stop-duration", "10m")
    cluster.await_output(stopping, 0, b"began")
    cluster.run("stop", stopping)
    cluster.await_state(stopping, "stopping")
    cluster.submit("--queue", "--name", "waiting", "--nodes", "5", "--", "true")


def _since_0003(cluster: Cluster) -> None:
    """Retries by hand, variants, times, budgets, preemption, a host that is vacated."""
    cluster.run("submit", "--name", "failed-twice", *ANY, "--", "sh", "-c", "exit 5", check=False)
    cluster.run("retry", "failed-twice")
    cluster.wait("failed-twice")
    file = cluster.folder / "variants.yml"
    file.write_text(VARIANTS)
    cluster.submit(str(file))
    cluster.submit("--queue", "--name", "nightly", "--schedule", "0 2 * * *", *ANY, "--", "true")
    cluster.submit("--queue", "--name", "after", "--after", "running-any:done", *ANY, "--", "true")
    cluster.submit("--name", "swept", *ANY, "--array", "0-5%2", "--budget", "100", "--", "sleep", "600")
    low = cluster.shell(BEGUN, "--name", "preempted", *ANY, "--host", "one", "--cpus", "10", "--preemptible")
    cluster.await_output(low, 0, b"began")
    high = cluster.shell(BEGUN, "--name", "preempts", *ANY, "--host", "one", "--cpus", "10", "--priority", "50")
    cluster.await_output(high, 0, b"began")
    cluster.run("host", "drain", "two", "--deadline", "2h")


def _attempts(cluster: Cluster, job: str) -> list[tuple[str, int]]:
    return [(node["state"], node["attempt"]) for node in cluster.nodes(job)]


if __name__ == "__main__":
    with TemporaryDirectory() as directory:
        try:
            sys.stdout.write(write(Path(directory), sys.argv[1]))
        finally:
            kill_all_under(Path(directory))
