"""``near``: real agents open connections to where a job's data is said to be, a few and empty ones, and not again."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from rallypoint.v1 import types_pb2 as pb

from agent.distances import TRIES
from coordinator.client import Client
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


def spec(near: str) -> pb.JobSpec:
    return pb.JobSpec(nodes=1, placement=pb.PLACEMENT_ANY, argv=["true"], near=near)


def test_hosts_measure_how_far_a_jobs_data_is(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, options=("--heartbeat", "1s")) as cluster,
        socket.create_server(("127.0.0.1", 0), backlog=100) as data,
        socket.create_server(("127.0.0.1", 0)) as closed,
        Client.from_context(cluster.context) as client,
    ):
        for name in ("one", "two"):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0"])
        eventually(lambda: all(h["state"] == "online" for h in cluster.hosts().values()), what="both hosts online")
        near, nowhere = (f"127.0.0.1:{server.getsockname()[1]}" for server in (data, closed))
        closed.close()

        client.plan(spec(near))
        data.settimeout(10)
        for _ in range(2 * TRIES):
            connection, _ = data.accept()
            with connection:
                assert connection.recv(1) == b"", "it said something"
        assert {offer.near_problem for offer in client.plan(spec(near)).offers} == {""}
        assert {offer.near_problem for offer in client.plan(spec(nowhere)).offers} == {"connection refused"}
        for job in (client.submit(spec(near)), client.submit(spec(nowhere))):
            assert cluster.wait(job.id) == 0, "a job whose data is out of reach runs as well"
        data.setblocking(False)
        with pytest.raises(BlockingIOError), contextlib.closing(data.accept()[0]):
            pytest.fail("what was known was measured again")

        def trips() -> list[float | None]:
            return [host["round_trip_seconds"] for host in cluster.hosts().values()]

        eventually(lambda: all(trips()), what="hosts' round trips")
        assert all(trip is not None and 0 < trip < 10 for trip in trips())
