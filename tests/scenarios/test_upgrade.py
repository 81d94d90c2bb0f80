"""Agents are upgraded under a running job: from the previous commit's wheel to this one, and back from a bad one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.installation import Installation, current_version
from tests.fakes import releases
from tests.multihost.cluster import Cluster, Ended
from tests.multihost.processes import environment, kill_all_under, lives
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

WORK = "echo $$ > {0}/pid; until [ -e {0}/go ]; do sleep 0.1; done; echo all said; exit 5"
# What passes every check before it is started, and then can't be.
UNLUCKY = ("    identity = load_identity(settings.state_dir)\n", '    raise SystemExit("no such luck")\n')


class Host:
    """A host on which the installer put a release; its agent is supervised in the background."""

    def __init__(self, cluster: Cluster, name: str, wheel: Path) -> None:
        self.name = name
        self.folder = cluster.folder / name
        (self.folder / "home").mkdir(parents=True)
        self.installation: Installation = releases.install(wheel, self.folder / "prefix", self.folder / "state")
        options = ["--name", name, "--peer-listen", "127.0.0.1:0", "--token-file", cluster._token()]
        self.agent("join", cluster.endpoints["join"], *options)
        self.agent("start")

    def agent(self, *words: str) -> None:
        """Run the installed `agent` command."""
        command = [str(self.installation.agent), *words, "--state-dir", str(self.installation.state_dir)]
        done = subprocess.run(
            command, env=environment(self.folder / "home"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    @property
    def current(self) -> str | None:
        return current_version(self.installation.prefix)

    def log(self) -> str:
        return (self.installation.state_dir / "agent.log").read_text()


def become(cluster: Cluster, folder: Path, path: str, before: str, after: str) -> None:
    """Replace the coordinator by one of a release in which the file at ``path`` reads otherwise."""
    for part in ("agent", "coordinator", "protos"):
        shutil.copytree(releases.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / path
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    cluster.coordinator.stop()
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(folder / 'protos')!r}]"
    cluster.serves = (sys.executable, "-c", f"{code}; from coordinator.cli.main import run; run()")
    cluster.start()
    eventually(lambda: cluster.hosts()["one"]["state"] == "online", what="contact")


def offered(cluster: Cluster) -> str:
    """What hosts are upgraded to."""
    build: str = cluster.run("hosts", "--json").json["coordinator"]["build"]
    return build


def upgrade(cluster: Cluster, *words: str) -> Ended:
    return cluster.run("host", "upgrade", *words, check=False)


def fates(cluster: Cluster) -> dict[str, Any]:
    """What became of each host in the last upgrade."""
    told = json.loads(cluster.run("host", "upgrade", "--status", "--json").out)["upgrade"]
    return {host["host_name"]: (host["step"], host["reason"]) for host in told["hosts"]}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, options=("--heartbeat", "1s"))
    try:
        with made:
            yield made
    finally:
        kill_all_under(tmp_path)


def begin(cluster: Cluster, options: Sequence[str] = ()) -> tuple[str, int]:
    """A job that runs until it is told to go on; its id and its process."""
    job = cluster.shell(WORK.format(cluster.folder), "--placement", "any", *options)
    pid = cluster.folder / "pid"
    eventually(lambda: pid.exists() and pid.read_text().endswith("\n"), what="the start")
    cluster.await_state(job, "running")
    return job, int(pid.read_text())


def test_a_job_runs_through_an_upgrade_and_through_one_that_is_rolled_back(cluster: Cluster, tmp_path: Path) -> None:
    old = releases.build(releases.previous_tree(tmp_path / "tree"), tmp_path / "old")
    host = Host(cluster, "one", old)
    before = host.current
    eventually(lambda: cluster.hosts().get("one", {}).get("state") == "online", what="contact")
    job, pid = begin(cluster)

    # From the previous commit's wheel to this one.
    new = offered(cluster)
    listed = cluster.run("hosts")
    assert before is not None
    assert before in listed.text, "versions are shown where they differ"
    assert f"the coordinator is {new}" in listed.err
    done = upgrade(cluster, "--all", "--batch", "1")
    assert done.code == 0, done.err
    assert f"one: done, {before} -> {new}" in done.err
    assert host.current == new
    told = cluster.hosts()["one"]
    assert (told["agent_build"], told["state"]) == (new, "online")
    assert "VERSION" not in cluster.run("hosts").text
    assert lives(pid)

    # To one that can't start: it passes every check, and dies.
    become(cluster, tmp_path / "bad", "agent/daemon.py", *UNLUCKY)
    bad = offered(cluster)
    failed = upgrade(cluster, "one")
    assert failed.code == 1
    step, reason = fates(cluster)["one"]
    assert step == "rolled-back"
    assert f"{bad} ended 3 times (exit code 1); {new} is back; its log says:" in reason
    assert "no such luck" in reason
    assert host.current == new
    eventually(lambda: cluster.hosts()["one"]["state"] == "online", what="contact")

    # The job has noticed nothing of it all.
    assert lives(pid)
    (tmp_path / "go").touch()
    assert cluster.wait(job) == 5
    assert cluster.logs(job, 0) == b"all said\n"
    (node,) = cluster.nodes(job)
    assert node["attempt"] == 1
    host.agent("stop")


def test_what_was_installed_by_hand_is_not_outdated_where_its_release_is_the_same(
    cluster: Cluster,
) -> None:
    cluster.add("checkout", run=["--peer-listen", "127.0.0.1:0"])
    eventually(lambda: cluster.hosts()["checkout"]["state"] == "online", what="contact")
    refused = upgrade(cluster, "--status")
    assert refused.code == 66
    assert "'coordinator host upgrade --all' upgrades all" in refused.err
    assert upgrade(cluster).code == 2
    assert upgrade(cluster, "--all").code == 0
    assert fates(cluster)["checkout"] == ("done", "is of this release; its agent was not installed by the installer")
    assert "VERSION" not in cluster.run("hosts").text
    assert upgrade(cluster, "--all", "--batch", "0").code == 2
    assert upgrade(cluster, "--status", "--cancel").code == 2
