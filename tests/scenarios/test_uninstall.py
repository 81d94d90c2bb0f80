"""`agent uninstall`: the host leaves its cluster, and what is there afterwards is what was there before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.machine import Machine, machine
from tests.fakes.spawner_client import kill_spawner
from tests.multihost.cluster import Cluster
from tests.multihost.processes import environment
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# Other runs of this test on this machine have names of their own.
PREFIX = f"/opt/rallypoint-{os.getpid()}"
STATE = f"/var/lib/rallypoint-{os.getpid()}/agent"
LINK = f"/usr/local/bin/agent-{os.getpid()}"
USER = f"rallypoint-{os.getpid()}"
# Makes what the installer makes: an environment in which this project is found, a user, directories, a link.
INSTALL = """
import json, os, pathlib, subprocess, sys
prefix, state, link, user = sys.argv[1:5]
subprocess.run([sys.executable, "-m", "venv", "--without-pip", f"{prefix}/versions/1-test"], check=True)
(site,) = pathlib.Path(f"{prefix}/versions/1-test").glob("lib/python*/site-packages")
(site / "here.pth").write_text("\\n".join(json.loads(sys.argv[5])))
program = pathlib.Path(f"{prefix}/versions/1-test/bin/agent")
program.write_text(f"#!{prefix}/versions/1-test/bin/python\\nfrom agent.cli import run\\nrun()\\n")
program.chmod(0o755)
os.symlink("versions/1-test", f"{prefix}/current")
os.makedirs(state, 0o700)
os.symlink(f"{prefix}/current/bin/agent", link)
subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", user], check=True)
created = {"users": [user], "dirs": [f"{prefix}/versions", os.path.dirname(state), state], "files": [],
           "links": [link], "parents": [prefix]}
record = {"format": 1, "prefix": prefix, "mode": "root", "supervisor": "background", "unit": "", "state_dir": state,
          "user": "", "created": created, "coordinator": "", "install_url": "", "pin": "", "python": sys.executable,
          "packages": "index"}
pathlib.Path(f"{prefix}/install.json").write_text(json.dumps(record))
"""


@dataclass(frozen=True, slots=True)
class Host:
    """An installed agent on a machine."""

    machine: Machine
    env: dict[str, str]

    def agent(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command that was linked."""
        return self.machine.run(LINK, *words, env=self.env, given=given)

    def install(self) -> None:
        """Install, as the installer does."""
        paths = json.dumps([path for path in sys.path if path])
        made = self.machine.run(sys.executable, "-c", INSTALL, PREFIX, STATE, LINK, USER, paths, env=self.env)
        assert made.returncode == 0, made.stderr

    def join(self, cluster: Cluster) -> None:
        """Join and start."""
        token = cluster.run("token", "create").text
        joined = self.agent("join", cluster.endpoints["join"], "--token-file", "-", "--name", "one", given=token)
        assert joined.returncode == 0, joined.stderr
        started = self.agent("start", "--", "--peer-listen", "127.0.0.1:0")
        assert started.returncode == 0, started.stderr


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with machine(tmp_path / "machine") as there:
        yield Host(there, {**environment(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})


def groups_of(host: Host) -> list[Path]:
    """The control groups that tasks on the machine are in."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            mine = line.with_name("root").readlink() == Path(f"/proc/{host.machine.holder}/root").readlink()
            text = line.read_text() if mine else ""
        except OSError:
            continue
        for path in {entry.split(":", 2)[2] for entry in text.splitlines() if "rallypoint" in entry}:
            found += [each for each in Path("/sys/fs/cgroup").glob("*" + path) if each.is_dir()]
            found.append(Path("/sys/fs/cgroup" + path))
    # The agent's own group, above those of its tasks, is to go, too.
    return [path for each in found for path in (each, each.parent) if "rallypoint-" in str(path) and path.is_dir()]


def test_nothing_is_left_and_the_coordinator_has_forgotten_the_host(tmp_path: Path, host: Host) -> None:
    cluster = Cluster(tmp_path)
    assert host.machine.changes() == {}
    with cluster:
        host.install()
        host.join(cluster)
        job = cluster.shell("echo began; sleep 600", "--placement", "any", "--stop-duration", "1s")
        cluster.await_output(job, 0, b"began")
        groups = groups_of(host)
        assert groups
        assert PREFIX in host.machine.changes()
        assert host.machine.run("getent", "passwd", USER).returncode == 0

        refused = host.agent("uninstall", "--yes")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (5, 1), refused.stderr
        assert "still runs" in refused.stderr
        assert "--drain" in refused.stderr
        assert cluster.nodes(job)[0]["state"] == "running"

        gone = host.agent("uninstall", "--yes", "--force")
        assert gone.returncode == 0, gone.stderr
        assert gone.stdout.splitlines()[-2:] == ["host one has left its cluster", "removed"]
        assert (host.machine.changes(), host.machine.processes()) == ({}, [])
        assert [group for group in groups if group.exists()] == []
        assert cluster.hosts() == {}
        eventually(lambda: cluster.nodes(job)[0]["state"] == "pending", what="the node waiting for another host")


def test_without_a_coordinator_all_is_removed_and_it_says_what_is_left_to_do(tmp_path: Path, host: Host) -> None:
    cluster = Cluster(tmp_path)
    with cluster:
        host.install()
        host.join(cluster)
        job = cluster.shell("echo began; sleep 600", "--placement", "any")
        cluster.await_output(job, 0, b"began")
        cluster.coordinator.kill()
    refused = host.agent("uninstall", "--yes", "--drain")
    assert (refused.returncode, "give --force to stop it now" in refused.stderr) == (5, True), refused.stderr
    groups = groups_of(host)
    # Whatever died before: the agent, and with SIGKILL what is above its tasks.
    assert "1 node goes on until" in host.agent("stop").stdout
    kill_spawner(Path(STATE))
    gone = host.agent("uninstall", "--yes", "--force")
    assert gone.returncode == 0, gone.stderr
    assert "coordinator host remove one --gone" in gone.stdout
    assert (host.machine.changes(), host.machine.processes()) == ({}, [])
    assert groups
    assert [group for group in groups if group.exists()] == []
