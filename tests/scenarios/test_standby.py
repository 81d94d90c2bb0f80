"""Two coordinators on one PostgreSQL: who takes over, what nobody notices, and what a deposed leader may not do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rallypoint.tls import SERVER_NAME, prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from rallypoint.v1 import types_pb2 as pb  # noqa: E402

from coordinator.access import ca  # noqa: E402
from coordinator.client import Client  # noqa: E402
from coordinator.context import load_context  # noqa: E402
from coordinator.failures import NotLeading, RallypointError  # noqa: E402
from tests.fakes import postgres_server  # noqa: E402
from tests.fakes.postgres_server import OTHER_ADDRESS, Server  # noqa: E402
from tests.multihost.cluster import Cluster  # noqa: E402
from tests.multihost.processes import BIN, environment, lives  # noqa: E402
from tests.support import eventually, missing  # noqa: E402

pytestmark = pytest.mark.timeout(150)

TAKE_OVER_SECONDS = 10.0
SUBMITS = 500
KILLED_AFTER = 150
USERS = 4
LEADS, STANDS_BY = "join a host", "stands by"
LOCAL = ["--peer-listen", "127.0.0.1:0"]


class Pair:
    """Two coordinators; ``one`` leads first."""

    def __init__(self, folder: Path, url: str, url_of_one: str = "") -> None:
        self.one, self.two = self._made(folder / "one", url_of_one or url), self._made(folder / "two", url)
        self.one.start()
        shutil.copytree(self.one.data_dir / "ca", self.two.data_dir / "ca")
        self.two.start(STANDS_BY)

    def _made(self, folder: Path, url: str) -> Cluster:
        folder.mkdir()
        return Cluster(folder, env={"RALLYPOINT_DATABASE_URL": url})

    def client(self) -> Client:
        """An admin's, by the context file that the first coordinator keeps."""
        eventually(
            lambda: load_context(self.one.context).others == (self.two.endpoints["join"],), what="both addresses"
        )
        return Client.from_context(self.one.context)

    def add(self, name: str) -> None:
        """Add a host, and wait until it knows where both answer."""
        agent = self.one.add(name, run=LOCAL)
        eventually(lambda: self.two.endpoints["agents"] in (agent.state / "identity.json").read_text(), what="both")

    def close(self) -> None:
        """End the one that leads last: its agents go with it."""
        for cluster in (self.two, self.one):
            cluster.close()


@pytest.fixture
def pair(tmp_path: Path, postgres: Server) -> Iterator[Pair]:
    made = Pair(tmp_path, postgres.url(postgres.emptied()))
    try:
        yield made
    finally:
        made.close()


def shell(script: str) -> pb.JobSpec:
    return pb.JobSpec(nodes=1, placement=pb.PLACEMENT_ANY, argv=["sh", "-c", script])


def log_of(cluster: Cluster) -> str:
    return (cluster.folder / "coordinator.log").read_text()


def refusal(data_dir: Path, env: Mapping[str, str]) -> str:
    """What a coordinator says that does not start."""
    ports = ["--listen", "127.0.0.1:0", "--http", "off"]
    command = [str(BIN / "coordinator"), "serve", "--data-dir", str(data_dir), *ports]
    done = subprocess.run(command, env=environment(data_dir, env), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stderr


class Submitting:
    """Users who submit at the same time, and what was acknowledged to them, and when."""

    def __init__(self, pair: Pair, spec: pb.JobSpec) -> None:
        self._pair = pair
        self._spec = spec
        self._lock = threading.Lock()
        self.acknowledged: list[tuple[float, str]] = []

    def run(self, user: int) -> None:
        """Submit one user's share."""
        with self._pair.client() as client:
            for number in range(SUBMITS // USERS):
                job = client.submit(self._spec, request_id=f"{user}-{number}")
                with self._lock:
                    self.acknowledged.append((time.monotonic(), job.id))


def test_nothing_is_lost_and_nothing_runs_twice_when_the_leader_is_killed_amid_500_submits(
    pair: Pair, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        pair.add(name)
    with pair.client() as client:
        long = client.submit(shell(f"echo $$ > {tmp_path}/pid; echo before; sleep 600"))
        pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="the task"))
        pair.one.await_output(long.id, 0, b"before")

        submitting = Submitting(pair, shell(f"echo $RALLYPOINT_ALLOCATION_ID >> {tmp_path}/ran"))
        with ThreadPoolExecutor(USERS) as users:
            shares = [users.submit(submitting.run, user) for user in range(USERS)]
            eventually(lambda: len(submitting.acknowledged) > KILLED_AFTER, what="submits")
            pair.one.coordinator.kill()
            killed_at = time.monotonic()
            for share in shares:
                share.result()

        after = min(at for at, _ in submitting.acknowledged if at > killed_at)
        print(f"taken over in {after - killed_at:.2f} s")
        assert after - killed_at < TAKE_OVER_SECONDS
        ids = {job for _, job in submitting.acknowledged}
        assert len(ids) == SUBMITS
        assert {job.id for job in client.jobs(all=True, limit=2 * SUBMITS)} == {*ids, long.id}
        for job in ids:
            assert client.wait(job, timeout=60).state == pb.JOB_STATE_DONE
        ran = (tmp_path / "ran").read_text().split()
        assert sorted(ran) == sorted(set(ran)), "a node ran twice"
        assert {allocation.partition(".")[0] for allocation in ran} == ids

        assert lives(pid)
        assert b"".join(piece.data for piece in client.tail(long.id)) == b"before\n"
        (node,) = client.job(long.id).nodes
        assert (node.state, node.attempt) == (pb.NODE_STATE_RUNNING, 1)
        client.stop(long.id, abort=True)
        client.wait(long.id, timeout=30)


def test_a_frozen_leader_is_deposed_ends_by_itself_and_comes_back_as_the_standby(pair: Pair, tmp_path: Path) -> None:
    pair.add("a")
    with pair.client() as client:
        job = client.submit(shell(f"echo started >> {tmp_path}/starts; sleep 600"))
        eventually(lambda: (tmp_path / "starts").exists(), what="the task")
        os.kill(pair.one.coordinator.pid, signal.SIGSTOP)
        frozen_at = time.monotonic()
        eventually(lambda: pair.two.said(LEADS), TAKE_OVER_SECONDS + 10, "the standby to lead")
        taken = time.monotonic() - frozen_at
        print(f"taken over in {taken:.2f} s")
        assert taken < TAKE_OVER_SECONDS
        later = client.submit(shell("true"))
        os.kill(pair.one.coordinator.pid, signal.SIGCONT)
        eventually(lambda: pair.one.coordinator.ended() is not None, what="the end of the deposed leader")
        assert pair.one.coordinator.stop() == 74
        said = log_of(pair.one)
        assert f"Error: another coordinator ({pair.two.endpoints['join']}) leads on database postgresql://" in said
        assert client.wait(later.id, timeout=60).state == pb.JOB_STATE_DONE

        pair.one.start(STANDS_BY)
        pair.two.coordinator.kill()
        eventually(lambda: 'term": 3' in log_of(pair.one), what="the first to lead again")
        assert client.job(job.id).job.state == pb.JOB_STATE_RUNNING
        client.stop(job.id, abort=True)
        assert client.wait(job.id, timeout=60).state == pb.JOB_STATE_STOPPED
    assert (tmp_path / "starts").read_text() == "started\n"


@contextmanager
def cut(port: int) -> Iterator[Callable[[], None]]:
    """Drop, both ways, what goes by ``OTHER_ADDRESS`` to ``port``; calling what is given ends that early."""
    table = f"inet rally{os.getpid()}"
    rules = f"""
        add table {table}
        add chain {table} cut {{ type filter hook output priority 0; }}
        add rule {table} cut ip daddr {OTHER_ADDRESS} tcp dport {port} drop
        add rule {table} cut ip saddr {OTHER_ADDRESS} tcp sport {port} drop
    """
    made = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if made.returncode:
        missing("nft", f"run as root, with nftables installed ({made.stderr.strip()})")
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["nft", "delete", "table", *table.split()], check=True)
        yield stack.close


def test_a_leader_that_is_cut_off_from_the_database_serves_nobody_and_is_replaced(
    postgres: Server, tmp_path: Path
) -> None:
    url = postgres.url(postgres.emptied())
    pair = Pair(tmp_path, url, url.replace("127.0.0.1", OTHER_ADDRESS))
    try:
        pair.add("a")
        with pair.client() as client:
            job = client.submit(shell(f"echo started >> {tmp_path}/starts; sleep 600"))
            eventually((tmp_path / "starts").exists, what="the task")
            context = load_context(pair.one.context)
            with cut(postgres.port) as mend:
                cut_at = time.monotonic()
                eventually(lambda: pair.two.said(LEADS), TAKE_OVER_SECONDS + 10, "the standby to lead")
                taken = time.monotonic() - cut_at
                print(f"taken over in {taken:.2f} s")
                assert taken < TAKE_OVER_SECONDS
                later = client.submit(shell("true"))
                with Client(context.address, ca_pem=context.ca_pem, token=context.token) as first:
                    assert isinstance(_refused(first, job.id), NotLeading)
                mend()
            eventually(lambda: pair.one.coordinator.ended() == 74, what="the end of the deposed leader")
            assert client.wait(later.id, timeout=60).state == pb.JOB_STATE_DONE
            client.stop(job.id, abort=True)
            client.wait(job.id, timeout=60)
        assert (tmp_path / "starts").read_text() == "started\n"
    finally:
        pair.close()


def test_without_its_database_a_leader_serves_nobody_and_heals(tmp_path: Path) -> None:
    with postgres_server.running() as server:
        cluster = Cluster(tmp_path, env={"RALLYPOINT_DATABASE_URL": server.url()})
        with cluster:
            cluster.add("a", run=LOCAL)
            job = cluster.shell(f"echo started >> {tmp_path}/starts; sleep 600")
            eventually((tmp_path / "starts").exists, what="the task")
            server.stop()
            context = load_context(cluster.context)
            # A call that came just before is kept until the database is back: it must not keep this test.
            with Client(context.address, ca_pem=context.ca_pem, token=context.token, timeout=2.0) as client:
                eventually(lambda: isinstance(_refused(client, job), NotLeading), what="a leader in doubt")
                server.start()
                eventually(lambda: _refused(client, job) is None, what="the leader's return")
                client.stop(job, abort=True)
                assert client.wait(job, timeout=60).state == pb.JOB_STATE_STOPPED
            assert "database.back" in log_of(cluster)
    assert (tmp_path / "starts").read_text() == "started\n"


def _refused(client: Client, job: str) -> RallypointError | None:
    try:
        client.job(job)
    except RallypointError as error:
        return error
    return None


def test_a_standby_says_at_each_port_that_it_is_one(pair: Pair) -> None:
    context, two = load_context(pair.one.context), pair.two.endpoints
    with Client(two["api"], ca_pem=context.ca_pem, token=context.token) as client:
        with pytest.raises(NotLeading, match=f"the one at {pair.one.endpoints['join']} leads; try the next") as refused:
            client.submit(shell("true"))
        assert refused.value.metadata == {"leader": pair.one.endpoints["join"]}
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    with grpc.secure_channel(two["api"], grpc.ssl_channel_credentials(context.ca_pem), options) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    tls = ssl.create_default_context(cadata=context.ca_pem.decode())
    assert _get(two["web"] + "healthz", tls) == (200, "ok\n")
    code, text = _get(two["web"] + "readyz", tls)
    assert (code, text) == (
        503,
        f"not ready: this coordinator stands by, the one at {pair.one.endpoints['join']} leads\n",
    )
    assert _get(pair.one.endpoints["web"] + "readyz", tls)[0] == 200
    # New machines are served all the same: with the same wheel, and sent to both.
    one, other = (_get(f"https://{each.endpoints['install']}/manifest.json", tls) for each in (pair.one, pair.two))
    assert (one[0], other[0]) == (200, 200)
    assert json.loads(one[1])["wheel"] == json.loads(other[1])["wheel"]
    assert sorted(json.loads(one[1])["join"]) == sorted(each.endpoints["join"] for each in (pair.one, pair.two))


def _get(url: str, tls: ssl.SSLContext) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, context=tls, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_join_goes_to_the_one_that_leads_and_the_commands_too(pair: Pair, tmp_path: Path) -> None:
    both = f"{pair.two.endpoints['join']},{pair.one.endpoints['join']}"
    known = pair.one.add("a", run=LOCAL, at=both).state / "identity.json"
    assert pair.one.endpoints["agents"] in known.read_text()
    eventually(lambda: pair.two.endpoints["agents"] in known.read_text(), what="the standby's address")
    with Client.from_context(pair.one.context, {"RALLYPOINT_COORDINATOR": both}) as client:
        assert [host.name for host in client.hosts().hosts] == ["a"]


def test_a_coordinator_without_the_clusters_ca_is_refused(pair: Pair, tmp_path: Path) -> None:
    said = refusal(tmp_path / "third", pair.one.env)
    assert "the CA of this database's cluster is not in" in said
    assert "copy ca.key.pem and ca.pem there from the same folder of a coordinator that has led" in said
    ca.load_or_create(tmp_path / "own" / "ca", time.time())
    assert "is not the one of this database's cluster: give another --data-dir" in refusal(
        tmp_path / "own", pair.one.env
    )
