"""An agent without systemd: started again when it dies, taken over when its supervisor does, and never two of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.supervised import SupervisedHost
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)


def test_an_agent_in_the_background_survives_crashes_of_itself_and_of_its_supervisor(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    host = SupervisedHost(cluster, "one", tmp_path / "one")
    with cluster:
        host.join()
        try:
            check_taken_port(host)
            host.start()
            for pid in (host.pid, host.supervisor):
                assert b"RALLYPOINT_JOIN_TOKEN" not in Path(f"/proc/{pid}/environ").read_bytes()
            again = host.agent("start", "--", "--cpus", "1")
            assert (again.returncode, "'agent stop' it first to give others" in again.stderr) == (1, True)
            job = cluster.shell("echo began $$; sleep 600", "--stop-duration", "1s")
            cluster.await_output(job, 0, b"began")
            check_crashes(host)
            check_restart(host)
            node = cluster.nodes(job)[0]
            assert (node["state"], node["attempt"]) == ("running", 1)
            assert cluster.logs(job, 0).count(b"began") == 1, "the node was started again"
            check_stop(host, left="1 node goes on until")
            host.start()
            cluster.run("stop", job)
            cluster.run("wait", job, check=False)
            check_removal(host)
        finally:
            host.close()


def check_taken_port(host: SupervisedHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = host.agent("start", "--", "--peer-listen", where)
    assert (failed.returncode, "'agent start -- --peer-listen 127.0.0.1:PORT'" in failed.stderr) == (1, True), failed


def check_crashes(host: SupervisedHost) -> None:
    agent, supervisor = host.pid, host.supervisor
    host.kill(agent)
    eventually(lambda: host.pid not in (None, agent), what="the next agent")
    assert host.supervisor == supervisor
    assert host.status()["restarts"] == 1

    agent = host.pid
    host.kill(supervisor)
    seen = host.agent("status")
    assert (seen.returncode, "nobody supervises it" in seen.stdout) == (0, True), seen.stdout
    with ThreadPoolExecutor(2) as both:
        started = list(both.map(lambda _: host.agent("start"), range(2)))
    assert [done.returncode for done in started] == [0, 0], [done.stderr for done in started]
    assert (host.pid, host.agents()) == (agent, [agent]), "the agent that lives is taken over, not replaced"
    host.kill(agent)
    eventually(lambda: host.pid not in (None, agent), what="an agent after the one that was taken over")

    host.kill(host.supervisor)
    host.kill(host.pid)
    host.start()
    assert host.agents() == [host.pid]


def check_restart(host: SupervisedHost) -> None:
    agent, supervisor = host.pid, host.supervisor
    assert host.agent("restart").returncode == 0
    eventually(lambda: host.pid not in (None, agent) and host.status()["ready"], what="the agent after the restart")
    assert host.supervisor == supervisor
    assert host.status()["restarts"] == 0
    for name in ("agent.log", "agent.pid", "supervisor.json"):
        assert stat.S_IMODE(os.stat(host.state / name).st_mode) == 0o600, name
    assert "agent.stopping" in host.agent("logs").stdout


def check_stop(host: SupervisedHost, left: str) -> None:
    stopped = host.agent("stop")
    assert (stopped.returncode, left in stopped.stdout) == (0, True), stopped
    assert (host.agents(), host.supervisor) == ([], None)
    seen = host.agent("status")
    assert (seen.returncode, seen.stdout) == (3, "the agent does not run (stopped, last exit code 0)\n")
    assert host.agent("stop").returncode == 0, "an agent that is stopped may be stopped"


def check_removal(host: SupervisedHost) -> None:
    host.cluster.run("host", "remove", host.name)
    eventually(lambda: host.supervisor is None, what="the supervisor's end")
    seen = host.agent("status")
    assert seen.returncode == 3
    again: subprocess.CompletedProcess[str] = host.agent("start")
    assert again.returncode == 1
    assert "was removed from this cluster" in again.stderr
    assert len(again.stderr.splitlines()) == 1
