"""Calls whose answer is lost on the way: the command repeats them by itself, and what they asked for happens once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.access.context import write_context
from coordinator.context import load_context
from tests.fakes.cutting_proxy import CuttingProxy
from tests.multihost.cluster import Cluster
from tests.multihost.processes import environment
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# So large that the plan, which is asked for first, and the submit after it are told apart by their bytes; and both
# are smaller than what may be under way without an answer.
PAD = 20_000
# Longer than a command waits for a coordinator that it never reached.
AWAY = 3.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cut"))
    with cluster:
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["one"])
        yield cluster


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[CuttingProxy]:
    with CuttingProxy(cluster.endpoints["api"]) as proxy:
        yield proxy


def start(cluster: Cluster, proxy: CuttingProxy, *words: str) -> subprocess.Popen[str]:
    """A command that goes through the proxy."""
    context = cluster.folder / "proxied.toml"
    write_context(context, replace(load_context(cluster.context), address=proxy.address))
    command = [*cluster.command(*words[:1]), "--context", str(context), *words[1:]]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(cluster.folder), stdout=pipe, stderr=pipe, text=True)


def cut(cluster: Cluster, proxy: CuttingProxy, how: str, command: subprocess.Popen[str]) -> None:
    """The line breaks now, or the coordinator dies and is away for long; after it all is well."""
    if how == "kill":
        cluster.coordinator.kill()
    proxy.swallow_after = None
    proxy.cut()
    if how == "kill":
        since = time.monotonic()
        eventually(
            lambda: command.poll() is not None or any(at > since + AWAY for at in proxy.refused_at),
            what="a try after long",
        )
        cluster.start()


def jobs(cluster: Cluster, name: str) -> list[str]:
    return [job["id"] for job in cluster.run("ps", "--all", "--json").json["jobs"] if job["name"] == name]


@pytest.mark.parametrize("how", ["line", "kill"])
def test_a_submit_whose_answer_is_lost_makes_one_job(cluster: Cluster, proxy: CuttingProxy, how: str) -> None:
    proxy.swallow_after = PAD + PAD // 2
    words = ["--detach", "--name", f"cut-{how}", "--env", "PAD=" + "x" * PAD, "--", "true"]
    with start(cluster, proxy, "submit", *words) as submit:
        eventually(lambda: jobs(cluster, f"cut-{how}"), what="the job, whose submit was not answered")
        assert submit.poll() is None
        cut(cluster, proxy, how, submit)
        out, said = submit.communicate(timeout=60)
    assert submit.returncode == 0, said
    assert jobs(cluster, f"cut-{how}") == [out.strip()]
    assert proxy.connections > 1
    assert cluster.wait(out.strip()) == 0


@pytest.mark.parametrize("how", ["line", "kill"])
def test_a_stop_whose_answer_is_lost_sends_its_signal_once(
    cluster: Cluster, proxy: CuttingProxy, how: str, tmp_path: Path
) -> None:
    name = f"stop-{how}"
    script = f"trap 'echo INT >> {tmp_path}/got' INT; touch {tmp_path}/up; while true; do sleep 0.1; done"
    job = cluster.shell(script, "--name", name, "--placement", "any", "--stop-duration", "20s")
    eventually((tmp_path / "up").exists, what="the start")
    with start(cluster, proxy, "stop", "x" * len(name), "--signal", "INT") as unknown:
        assert "there is no job" in unknown.communicate(timeout=60)[1]
    # The request is the last that such a connection carries, but for a few bytes of farewell.
    proxy.swallow_after = proxy.carried - 200
    with start(cluster, proxy, "stop", name, "--signal", "INT") as stop:
        cluster.await_state(name, "stopping")
        assert stop.poll() is None
        cut(cluster, proxy, how, stop)
        out, said = stop.communicate(timeout=60)
    assert (stop.returncode, out) == (0, "")
    assert f"({name}): stopping" in said
    eventually((tmp_path / "got").exists, what="the signal")
    cluster.run("stop", job, "--abort")
    assert cluster.wait(job) == 76
    assert (tmp_path / "got").read_text() == "INT\n"
