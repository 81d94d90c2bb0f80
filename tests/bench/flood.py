"""Nodes that print 100 MB a second, and what that does to everything else: measured, and held against the rules.

The same code is a short test, ``tests/scenarios/test_flood.py``, and a long measurement, ``tests/bench/test_flood.py``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rallypoint.v1 import types_pb2 as pb

from coordinator.client import Client
from tests.bench.conftest import client_of
from tests.bench.results import percentile
from tests.multihost.cluster import Cluster
from tests.support import eventually

MB = 1 << 20
SAMPLE_SECONDS = 0.1
LINE = 64
BLOCK = 1024

# Prints lines of 64 bytes at a rate, by the clock: what it could not print in time it prints faster. All lines of a
# block are its number. Leaves how much it was and the longest that one write took.
PROGRAM = """
import json, os, sys, time
rate, seconds, note = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
number, written, slowest, began = 0, 0, 0.0, time.monotonic()
while (now := time.monotonic() - began) < seconds:
    if written > now * rate:
        time.sleep(0.002)
        continue
    data = b"%062d.\\n" % number * 1024
    number += 1
    before = time.monotonic()
    while data:
        done = os.write(1, data)
        data, written = data[done:], written + done
    slowest = max(slowest, time.monotonic() - before)
with open(note, "w") as file:
    json.dump({"written": written, "slowest": slowest, "took": time.monotonic() - began}, file)
"""


@dataclass(slots=True)
class Watch:
    """Samples processes and disks in a thread while a block runs."""

    processes: dict[str, list[psutil.Process]]
    folders: dict[str, Path]
    most_memory: dict[str, int] = field(default_factory=dict)
    most_disk: dict[str, int] = field(default_factory=dict)
    first_memory: dict[str, int] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _began: float = 0.0

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self.first_memory = {name: _memory(found) for name, found in self.processes.items()}
        self.cpu = {name: -_cpu(found) for name, found in self.processes.items()}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        took = time.monotonic() - self._began
        self.cpu = {name: (used + _cpu(self.processes[name])) / took for name, used in self.cpu.items()}

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for name, found in self.processes.items():
                self.most_memory[name] = max(self.most_memory.get(name, 0), _memory(found))
            for name, folder in self.folders.items():
                self.most_disk[name] = max(self.most_disk.get(name, 0), disk_used(folder))

    def grown(self, name: str) -> int:
        """Bytes of memory that came on top of what there was."""
        return self.most_memory[name] - self.first_memory[name]


def _memory(processes: Sequence[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes)


def _cpu(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def disk_used(folder: Path) -> int:
    """Bytes that the files below a folder take on disk."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


@dataclass(frozen=True, slots=True)
class Flood:
    """What was measured. Seconds and bytes; ``calls`` and ``jobs`` are latencies of what went on beside the flood."""

    written: int
    kept: int
    dropped: int
    slowest_write: float
    longest: float
    calls: list[float]
    jobs: list[float]
    states: set[str]
    watch: Watch


def flood(cluster: Cluster, host: str, nodes: int, seconds: float, rate: int = 100 * MB) -> Flood:
    """Have ``nodes`` nodes print on one host, submit small jobs meanwhile, and count every byte afterwards."""
    notes = cluster.folder / "notes"
    notes.mkdir(exist_ok=True)
    agent = cluster.agents[host]
    main = psutil.Process(agent.program.pid)
    words = {process: process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"])}
    spawner = [process for process, said in words.items() if "agent.spawner" in said and str(agent.state) in said]
    processes = {"agent": [main, *spawner], "coordinator": [psutil.Process(cluster.coordinator.pid)]}
    folders = {"agent": agent.state / "logs", "coordinator": cluster.data_dir / "logs"}
    with client_of(cluster) as client, Watch(processes, folders) as watch:
        jobs = [start(client, notes / f"{number}.json", seconds, rate) for number in range(nodes)]
        eventually(lambda: all(client.job(job).job.state == pb.JOB_STATE_RUNNING for job in jobs), what="the flood")
        calls, small, states = _beside(client, host, jobs)
        for job in jobs:
            assert client.wait(job, 60 + seconds).state == pb.JOB_STATE_DONE
        told = [json.loads((notes / f"{number}.json").read_text()) for number in range(nodes)]
        counted = [count(client, job, each["written"]) for job, each in zip(jobs, told, strict=True)]
    return Flood(
        written=sum(each["written"] for each in told),
        kept=sum(kept for kept, _ in counted),
        dropped=sum(dropped for _, dropped in counted),
        slowest_write=max(each["slowest"] for each in told),
        longest=max(each["took"] for each in told),
        calls=calls,
        jobs=small,
        states=states,
        watch=watch,
    )


def start(client: Client, note: Path, seconds: float, rate: int = 100 * MB) -> str:
    """Submit a node that floods; the job's id."""
    argv = (sys.executable, "-c", PROGRAM, str(rate), str(seconds), str(note))
    return client.submit(pb.JobSpec(nodes=1, placement=pb.PLACEMENT_ANY, argv=argv)).id


def _beside(client: Client, host: str, floods: list[str]) -> tuple[list[float], list[float], set[str]]:
    """What a user feels while the flood goes on: calls, and small jobs from their submission to their known end."""
    calls: list[float] = []
    jobs: list[float] = []
    states: set[str] = set()
    while any(client.job(job).job.state == pb.JOB_STATE_RUNNING for job in floods):
        began = time.monotonic()
        states.add(pb.HostState.Name(client.host(host).state))
        calls.append(time.monotonic() - began)
        began = time.monotonic()
        job = client.submit(pb.JobSpec(nodes=1, placement=pb.PLACEMENT_ANY, argv=("/bin/true",)))
        assert client.wait(job.id, 60).state == pb.JOB_STATE_DONE
        jobs.append(time.monotonic() - began)
    return calls, jobs, states


def count(client: Client, job: str, written: int) -> tuple[int, int]:
    """Bytes kept and dropped of a job's output, once all of it has come; each kept line must be in its place."""
    for piece in client.tail(job, follow=True):
        assert piece.data or piece.dropped_bytes
    kept = dropped = end = 0
    for piece in client.tail(job):
        assert piece.offset - piece.dropped_bytes == end
        end = piece.offset + len(piece.data)
        kept += len(piece.data)
        dropped += piece.dropped_bytes
        _check(piece.offset, piece.data)
    (node,) = client.job(job).nodes
    assert (end, node.log_bytes, node.log_dropped_bytes) == (written, written, dropped)
    return kept, dropped


def _check(offset: int, data: bytes) -> None:
    """Each whole line that is kept is the one that was printed at its place."""
    at = -offset % LINE
    while at + LINE <= len(data):
        block = (offset + at) // LINE // BLOCK
        end = min(len(data), (block + 1) * BLOCK * LINE - offset)
        lines = (end - at) // LINE
        assert data[at : at + lines * LINE] == b"%062d.\n" % block * lines
        at += lines * LINE


def report(found: Flood) -> str:
    """The figures in words, for a terminal."""
    watch = found.watch
    return (
        f"{found.written / MB:.0f} MB written in {found.longest:.1f} s, {found.kept / MB:.1f} MB kept, "
        f"{found.dropped / MB:.1f} MB dropped; slowest write {found.slowest_write:.3f} s; "
        f"calls p99 {percentile(found.calls, 0.99) * 1e3:.0f} ms of {len(found.calls)}, "
        f"jobs p99 {percentile(found.jobs, 0.99) * 1e3:.0f} ms; "
        f"agent +{watch.grown('agent') / MB:.1f} MB {watch.cpu['agent']:.2f} cores, "
        f"coordinator +{watch.grown('coordinator') / MB:.1f} MB {watch.cpu['coordinator']:.2f} cores; "
        f"disk agent {watch.most_disk['agent'] / MB:.0f} MB, coordinator {watch.most_disk['coordinator'] / MB:.0f} MB"
    )
