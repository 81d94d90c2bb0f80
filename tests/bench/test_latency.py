"""From a submission to processes that run: one node, a group of four, a thousand nodes, and whole commands."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from rallypoint.v1 import types_pb2 as pb

from coordinator.client import Client
from tests.bench.conftest import client_of
from tests.bench.cpu import used
from tests.bench.results import Figure, Results, median, percentile
from tests.multihost.cluster import Cluster
from tests.multihost.processes import environment

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

# Prints the moment at which it runs, in nanoseconds of the wall clock that this process reads too.
CLOCK = ("date", "+%s%N")


def spec(placement: pb.Placement.ValueType, nodes: int, *argv: str) -> pb.JobSpec:
    """A job of ``nodes`` nodes."""
    return pb.JobSpec(nodes=nodes, placement=placement, argv=argv)


def began_after(client: Client, job: pb.JobSpec) -> float:
    """Submit; milliseconds until the last of its processes ran."""
    submitted = time.time_ns()
    answer = client.submit(job)
    assert client.wait(answer.id, 30).state == pb.JOB_STATE_DONE
    output: dict[int, bytes] = {}
    for piece in client.tail(answer.id, follow=True):
        output[piece.rank] = output.get(piece.rank, b"") + piece.data
    assert len(output) == job.nodes
    return (max(int(text) for text in output.values()) - submitted) / 1e6


def test_one_node_runs_soon_after_its_submission(one: Cluster, results: Results) -> None:
    with client_of(one) as client:
        job = spec(pb.PLACEMENT_ANY, 1, *CLOCK)
        for _ in range(5):
            began_after(client, job)
        taken = [began_after(client, job) for _ in range(100)]
    floor = median([spawned_after() for _ in range(100)])
    note = "Parsl 3.4, HyperQueue 5.5, srun 28-43"
    results.add(Figure("bare posix_spawn: start → it runs, p50", floor, "ms", note="the limit of this machine"))
    results.add(Figure("any: submit → it runs, p50", median(taken), "ms", 15, note=note))
    results.add(Figure("any: submit → it runs, p99", percentile(taken, 0.99), "ms", 100))


def spawned_after() -> float:
    """Milliseconds from ``posix_spawn`` until the program runs."""
    reader, writer = os.pipe()
    began = time.time_ns()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    pid = os.posix_spawn("/bin/date", CLOCK, os.environ, file_actions=actions)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        return (int(output.read()) - began) / 1e6


def test_a_group_of_four_runs_soon_after_its_submission(six: Cluster, results: Results) -> None:
    with client_of(six) as client:
        job = spec(pb.PLACEMENT_CLUSTER, 4, *CLOCK)
        began_after(client, job)
        taken = [began_after(client, job) for _ in range(20)]
    results.add(Figure("cluster: submit → all 4 ranks run, p50", median(taken), "ms", 150, note="srun -N4 41-56"))
    results.add(Figure("cluster: submit → all 4 ranks run, worst of 20", max(taken), "ms"))


def test_a_thousand_nodes_on_two_hosts(two: Cluster, results: Results) -> None:
    with client_of(two) as client:
        before = used(two)
        rates = [1000 / timed_nodes(client, 1000) for _ in range(3)]
        note = used(two).since(before).each(3000)
    results.add(Figure("bare posix_spawn of /bin/true, one after the other", spawn_rate(), "a second"))
    results.add(Figure("any: 1,000 × /bin/true on two hosts", median(rates), "a second", 400, True, note))


def timed_nodes(client: Client, count: int) -> float:
    """Seconds until so many ``any`` nodes of ``/bin/true`` are done, from their submission."""
    began = time.perf_counter()
    job = client.submit(spec(pb.PLACEMENT_ANY, count, "/bin/true"))
    assert client.wait(job.id, 120).counts.done == count
    return time.perf_counter() - began


def spawn_rate() -> float:
    """Processes a second that this machine starts and collects, one after the other."""
    began = time.perf_counter()
    for _ in range(1000):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)
    return 1000 / (time.perf_counter() - began)


@pytest.mark.parametrize(("words", "target"), [(["--version"], 120), (["ps"], 250)])
def test_a_command_as_a_whole_process(one: Cluster, results: Results, words: list[str], target: float) -> None:
    command, env = one.command(*words), environment(one.folder)
    if words == ["--version"]:
        command = [command[0], "--version"]
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        subprocess.run(command, env=env, check=True, capture_output=True)
        taken.append((time.perf_counter() - began) * 1e3)
    results.add(Figure(f"coordinator {words[0]}, whole process, p50", median(taken), "ms", target))
