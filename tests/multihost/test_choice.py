"""Hosts of different price, hardware and provider: who gets which work, on real processes; drivers are the stub's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nvml import StubGpu, a100, build_stub, h100, stub_env, t4, write_scenario
from tests.multihost import faults
from tests.multihost.beats import Beats
from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(120)]

# Each node says what it is, and holds its host until "go" is there: all kinds are in use at once.
SEARCH = """
type: task
name: search
placement: any
nodes: 6
variants:
  - {{name: big, precision: fp8, speed: 8, resources: {{gpu: H100}}}}
  - {{name: middle, precision: bf16, speed: 4, resources: {{gpu: A100}}}}
  - {{name: small, precision: fp16, speed: 1, resources: {{gpu: T4}}, env: [BATCH=8]}}
  - name: none
    resources: {{cpu: 2}}
    commands:
      - echo "cpu-only $RALLYPOINT_VARIANT ${{RALLYPOINT_PRECISION:-unset}}"
      - until [ -e {go} ]; do sleep 0.1; done
commands:
  - echo "$RALLYPOINT_VARIANT $RALLYPOINT_PRECISION ${{BATCH:-1}} ${{CUDA_VISIBLE_DEVICES:-no}}"
  - until [ -e {go} ]; do sleep 0.1; done
"""
FLEET: dict[str, tuple[tuple[StubGpu, ...], str]] = {
    "hopper": ((h100(0), h100(1)), "6.00"),
    "ampere": ((a100(2), a100(3)), "3.00"),
    "turing": ((t4(4),), "0.40"),
    "plain": ((), "0.05"),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four hosts beside each other on this machine, each with other GPUs, two CPUs and a price."""
    folder = tmp_path_factory.mktemp("fleet")
    library = build_stub(folder)
    cluster = Cluster(folder)
    with cluster:
        for name, (gpus, price) in FLEET.items():
            env = stub_env(library, write_scenario(folder / f"{name}.gpus", gpus)) if gpus else {}
            run = ["--peer-listen", "127.0.0.1:0", "--cpus", "2"]
            cluster.add(name, run=run, join=["--price", price], env=env)
        eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, what="hosts online")
        yield cluster


def test_one_search_runs_on_every_kind_of_hardware_at_once(fleet: Cluster, tmp_path: Path) -> None:
    task, go = tmp_path / "search.yml", tmp_path / "go"
    task.write_text(SEARCH.format(go=go))
    job = fleet.submit(str(task))

    said = {rank: fleet.await_output(job, rank, b"\n").decode().split() for rank in range(6)}
    nodes = {int(node["rank"]): node for node in fleet.nodes(job)}
    kinds = {"hopper": "big fp8", "ampere": "middle bf16", "turing": "small fp16", "plain": "cpu-only none"}
    hosts = [nodes[rank]["host_name"] for rank in range(6)]
    assert sorted(hosts) == ["ampere", "ampere", "hopper", "hopper", "plain", "turing"]
    for rank, host in enumerate(hosts):
        assert " ".join(said[rank][:2]) == kinds[host]
        assert nodes[rank]["variant"] == ("none" if host == "plain" else said[rank][0])
        if host != "plain":
            assert said[rank][3] == nodes[rank]["gpu_uuids"][0]
        assert (said[rank][2] == "8") == (host == "turing")
    go.touch()
    assert fleet.wait(job) == 0


def test_the_cheapest_hosts_are_taken_first(fleet: Cluster, tmp_path: Path) -> None:
    """One CPU of two costs half of the host's price; the dearest hosts are taken when nothing else is left."""
    go = tmp_path / "go"
    taken = []
    jobs = []
    for _ in range(6):
        job = fleet.shell(f"until [ -e {go} ]; do sleep 0.1; done", "--placement", "any", "--cpus", "1")
        fleet.await_state(job, "running")
        jobs.append(job)
        taken.append(fleet.nodes(job)[0]["host_name"])
    go.touch()
    assert taken == ["plain", "plain", "turing", "turing", "ampere", "ampere"]
    assert [fleet.wait(job) for job in jobs] == [0] * 6


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[tuple[Site, Cluster]]:
    """Two networks of two hosts, each of a provider of its own, ``b`` the cheaper one; short leases."""
    (tmp_path / "site").mkdir()
    times = ("--heartbeat", "0.5s", "--suspect", "1.5s", "--lease", "3s", "--grace", "1s", "--probe-interval", "4s")
    with Site.open({"a": Lan("10.7.1", 2), "b": Lan("10.7.2", 2)}, tmp_path / "site") as site:
        cluster = Cluster(tmp_path, HUB_ADDRESS, site.hub, times)
        with cluster:
            for name, host in site.hosts.items():
                price = "1" if host.network == "a" else "0.1"
                cluster.add(name, host.enter, join=["--backend", f"cloud-{host.network}", "--price", price])
            eventually(lambda: {h["state"] for h in cluster.hosts().values()} == {"online"}, what="hosts online")
            yield site, cluster


def test_the_loss_of_a_whole_provider_is_survived(clouds: tuple[Site, Cluster], tmp_path: Path) -> None:
    site, cluster = clouds
    beats = Beats(tmp_path, "any")
    task = tmp_path / "spread.yml"
    script = beats.script.replace("\n", "\n      ")
    head = "type: task\nplacement: any\nnodes: 2\nspread: backend\nresources: {cpu: 1}\n"
    task.write_text(f"{head}commands:\n  - |\n      {script}\n")
    job = cluster.submit(str(task))
    eventually(lambda: len(beats.lives()) == 2, what="both nodes' start")
    assert {life.host[0] for life in beats.lives()} == {"b"}, "the cheap provider first"
    with faults.silent(site, "b1", faults.BOTH), faults.silent(site, "b2", faults.BOTH):
        eventually(lambda: len(beats.lives()) == 4, 40.0, "both nodes elsewhere")
        again = [life for life in beats.lives() if life.attempt == 2]
        assert {life.host[0] for life in again} == {"a"}
        beats.finish()
        assert cluster.wait(job) == 0
