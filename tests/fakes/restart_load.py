"""A coordinator with many hosts and live nodes is killed and started again, and what that takes is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rallypoint.v1 import types_pb2 as pb

from coordinator.client import Client, RallypointError
from tests.fakes.big_store import fill
from tests.fakes.fleet_client import FleetProcess, fleet
from tests.multihost.cluster import Cluster
from tests.multihost.processes import kill_all_under

GIVE_UP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds since the start until a submit was acknowledged, and until all hosts were back; memory in MiB."""

    serves: float
    back: float
    memory: float
    processor: float


@dataclass(slots=True)
class Load:
    """A coordinator with ``nodes`` running nodes on ``hosts`` hosts."""

    cluster: Cluster
    fleet: FleetProcess
    hosts: int
    nodes: int

    def restart(self) -> Restart:
        """Kill it, start it again, and see everything there as it was."""
        self.cluster.coordinator.kill()
        began = time.monotonic()
        self.cluster.start()
        serves = self._until_submitted() - began
        answer = self.fleet.watch()
        assert answer.claimed == self.nodes
        process = psutil.Process(self.cluster.coordinator.pid)
        times = process.cpu_times()
        memory = process.memory_info().rss / (1 << 20)
        self._check()
        return Restart(serves, answer.at - began, memory, times.user + times.system)

    def _until_submitted(self) -> float:
        """When a submit was acknowledged (monotonic seconds): of a job that no host could hold."""
        spec = pb.JobSpec(argv=["true"], nodes=1, placement=pb.PLACEMENT_ANY)
        spec.resources.cpus.min = 100_000
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            with Client.from_context(self.cluster.context) as client:
                try:
                    job = client.submit(spec)
                except RallypointError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
                    continue
                acknowledged = time.monotonic()
                client.stop(job.id)
                return acknowledged

    def _check(self) -> None:
        with Client.from_context(self.cluster.context) as client:
            hosts = client.hosts().hosts
            jobs = client.jobs(limit=10_000)
            assert len(hosts) == self.hosts
            assert {host.state for host in hosts} == {pb.HOST_STATE_ONLINE}
            assert sum(job.counts.running for job in jobs) == self.nodes
            assert {node.attempt for job in jobs[:3] for node in client.job(job.id).nodes} == {1}


@contextmanager
def load(folder: Path, hosts: int, nodes: int, ended: int) -> Iterator[Load]:
    """Everything up, and all hosts in contact."""
    cluster = Cluster(folder)
    try:
        with cluster:
            cluster.coordinator.stop()
            fill(cluster.data_dir, hosts, nodes, ended)
            cluster.start()
            with fleet(cluster.data_dir, cluster.endpoints["agents"], hosts) as agents:
                assert agents.watch().claimed == nodes
                yield Load(cluster, agents, hosts, nodes)
    finally:
        kill_all_under(folder)
