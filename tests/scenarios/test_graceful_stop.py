"""A coordinator that is told to stop: what it acknowledged is kept, what it did not was refused cleanly, and everybody
who was connected goes on with its successor."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
from rallypoint.channel import user_channel  # noqa: E402
from rallypoint.v1 import job_service_pb2 as job_pb  # noqa: E402
from rallypoint.v1 import types_pb2 as pb  # noqa: E402
from rallypoint.v1.job_service_pb2_grpc import JobServiceStub  # noqa: E402

from coordinator.client import Client  # noqa: E402
from coordinator.context import load_context  # noqa: E402
from tests.multihost.cluster import Cluster  # noqa: E402
from tests.multihost.processes import environment, kill_all_under  # noqa: E402
from tests.support import eventually  # noqa: E402

pytestmark = pytest.mark.timeout(120)

USERS = 6
# Grace for calls in flight, twice (commands and agents, then the web page), and a busy machine.
STOP_SECONDS = 10.0
FLOOD = """
    echo "pid $$"
    until [ -e "$HOME/../../go" ]; do echo tick; sleep 0.01; done
    echo "end"
"""


@dataclass
class User:
    """Submits one job after the other, each until it is acknowledged."""

    number: int
    context: Path
    acknowledged: dict[str, str] = field(default_factory=dict)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Until ``done``; the last job is acknowledged too."""
        told = load_context(self.context)
        spec = pb.JobSpec(argv=["true"], nodes=1, placement=pb.PLACEMENT_ANY)
        spec.resources.cpus.min = 100_000
        with user_channel(told.address, ca_pem=told.ca_pem, token=told.token) as channel:
            stub = JobServiceStub(channel)
            while not self.done.is_set():
                request = f"r-{self.number}-{len(self.acknowledged)}"
                self.acknowledged[request] = self._submit(stub, job_pb.SubmitJobRequest(spec=spec, request_id=request))

    def _submit(self, stub: JobServiceStub, request: job_pb.SubmitJobRequest) -> str:
        while True:
            try:
                return str(stub.SubmitJob(request, timeout=30).job.id)
            except grpc.RpcError as error:
                self.refusals.append((error.code().name, error.details() or ""))
                time.sleep(0.05)  # the pause of a caller that tries again; nothing is awaited


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@contextmanager
def started(cluster: Cluster, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs on while the block does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        cluster.command(*words), env=environment(cluster.folder), stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def output(process: subprocess.Popen[str]) -> IO[str]:
    """Where it writes to."""
    assert process.stdout is not None
    return process.stdout


def restart_under_load(cluster: Cluster, users: list[User]) -> float:
    """Stop and start the coordinator while all submit; how long the stop took, in seconds."""
    threads = [threading.Thread(target=user.work) for user in users]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: min(len(user.acknowledged) for user in users) > 10, what="submits on their way")
        began = time.monotonic()
        assert cluster.coordinator.stop() == 0
        took = time.monotonic() - began
        before = [len(user.acknowledged) for user in users]
        cluster.start()
        eventually(lambda: all(len(u.acknowledged) > had + 5 for u, had in zip(users, before, strict=True)))
    finally:
        for user in users:
            user.done.set()
        for thread in threads:
            thread.join(60)
    return took


def check_jobs(cluster: Cluster, users: list[User], others: set[str]) -> None:
    """Every request that was acknowledged made one job, and no other request made any."""
    acknowledged = [job for user in users for job in user.acknowledged.values()]
    with Client.from_context(cluster.context) as client:
        known = [job.id for job in client.jobs(limit=10_000)]
    assert sorted(known) == sorted({*acknowledged, *others})
    assert len(known) == len(acknowledged) + len(others)


def test_what_is_in_flight_is_finished_or_refused_and_clients_follow(cluster: Cluster) -> None:
    users = [User(number, cluster.context) for number in range(USERS)]
    try:
        with cluster:
            cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--cpus", "4"])
            job = cluster.shell(FLOOD)
            cluster.await_output(job, 0, b"tick")
            submit = ("submit", "--name", "followed", "--", "sh", "-c", FLOOD)
            with started(cluster, "logs", "--follow", job) as logs, started(cluster, *submit) as followed:
                # Both are connected once they have said something.
                begun = [(process, output(process).readline()) for process in (logs, followed)]
                assert restart_under_load(cluster, users) < STOP_SECONDS
                second = cluster.show("followed")["job"]["id"]
                check_jobs(cluster, users, {job, second})
                (cluster.folder / "go").touch()
                for (process, first), name in zip(begun, (job, second), strict=True):
                    said = first + output(process).read()
                    assert process.wait(40) == 0
                    assert said.splitlines()[-1] == "end"
                    assert said.encode() == cluster.logs(name, 0), "a piece is missing, or there twice"
            refusals = {refusal for user in users for refusal in user.refusals}
            # CANCELLED is gRPC's own word for a call that reaches a server in the moment in which it stops.
            assert {code for code, _ in refusals} <= {"UNAVAILABLE", "CANCELLED"}, refusals
            assert refusals
            log = (cluster.folder / "coordinator.log").read_text()
            assert "Traceback" not in log
            assert '"level": "error"' not in log
    finally:
        kill_all_under(cluster.folder)
