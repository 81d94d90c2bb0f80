"""What is shown of jobs, nodes and hosts: plain tables for programs and people, one JSON shape."""

from __future__ import annotations

import json
import time

import grpc
import pytest
from rallypoint.errors import Reason
from rallypoint.v1 import access_service_pb2 as access_pb
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer, refuse
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)

GB = 2**30


def running_job() -> pb.Job:
    job = pb.Job(id="j-3", name="search", user="ann", state=pb.JOB_STATE_RUNNING, reason="waits for 1 CPU")
    job.spec.nodes = 24
    job.spec.placement = pb.PLACEMENT_ANY
    job.counts.running, job.counts.pending = 4, 20
    job.submitted_at = time.time() - 65
    job.started_at = job.submitted_at
    return job


def test_ps(server: JobServer, command: Command) -> None:
    server.canned.jobs = [running_job()]
    result = command("ps")
    assert result.code == 0
    assert result.out.splitlines() == [
        "ID   NAME    STATE    NODES                  USER  AGE   REASON",
        "j-3  search  running  4 running, 20 pending  ann   1m5s  waits for 1 CPU",
    ]
    (request,) = server.canned.requests("ListJobs")
    assert isinstance(request, job_pb.ListJobsRequest)
    assert not request.all


def test_ps_asks_for_all_and_for_few(server: JobServer, command: Command) -> None:
    command("ps", "--all", "--limit", "5")
    assert server.canned.requests("ListJobs") == [job_pb.ListJobsRequest(all=True, page_size=5)]


def test_json_has_a_version_and_every_field(server: JobServer, command: Command) -> None:
    server.canned.jobs = [running_job()]
    document = json.loads(command("ps", "--json").out)
    assert document["version"] == 1
    (job,) = document["jobs"]
    assert (job["id"], job["state"], job["counts"]["pending"]) == ("j-3", "running", 20)
    assert job["ended_at"] is None
    assert job["exit_code"] is None


def test_show(server: JobServer, command: Command) -> None:
    server.canned.jobs = [running_job()]
    node = pb.Node(rank=1, state=pb.NODE_STATE_FAILED, attempt=2, host_name="gpu-1", reason="exited with 3")
    node.exit_code, node.started_at, node.ended_at = 3, 100, 112
    server.canned.nodes = [pb.Node(rank=0, state=pb.NODE_STATE_PENDING), node]
    out = command("show", "search").out
    assert "nodes:     24 (4 running, 20 pending)" in out
    assert "placement: any" in out
    assert out.splitlines()[-3:] == [
        "RANK  STATE    HOST   EXIT  ATTEMPT  RAN FOR  REASON",
        "0     pending  -      -     0        -        -",
        "1     failed   gpu-1  3     2        12s      exited with 3",
    ]
    server.canned.nodes = [pb.Node(rank=0, log_dropped_bytes=129394278), node]
    assert command("show", "search").out.splitlines()[-1] == "node 0: 123.4 MB of its output were dropped"


def test_show_lists_the_copies_of_a_node(server: JobServer, command: Command) -> None:
    server.canned.jobs = [running_job()]
    copies = [
        pb.NodeCopy(attempt=attempt, host_name=f"gpu-{attempt}", state=pb.NODE_STATE_RUNNING) for attempt in (1, 2)
    ]
    copies[0].state, copies[0].reason = pb.NODE_STATE_STOPPING, "attempt 2 on gpu-2 finished first"
    done = pb.Node(rank=0, state=pb.NODE_STATE_DONE, attempt=2, last_attempt=2, host_name="gpu-2", copies=copies[:1])
    led = pb.Node(rank=1, state=pb.NODE_STATE_RUNNING, attempt=1, last_attempt=2, host_name="gpu-1", copies=copies)
    server.canned.nodes = [done, led]
    assert [line.split(None, 6) for line in command("show", "search").out.splitlines()[-4:]] == [
        ["0", "done", "gpu-2", "-", "2", "-", "-"],
        ["-", "stopping", "gpu-1", "-", "1", "-", "attempt 2 on gpu-2 finished first"],
        ["1", "running", "gpu-1", "-", "1", "-", "-"],
        ["-", "running", "gpu-2", "-", "2", "-", "-"],
    ]
    shown = json.loads(command("show", "search", "--json").out)["nodes"][1]
    assert [(copy["attempt"], copy["host_name"], copy["state"]) for copy in shown["copies"]] == [
        (1, "gpu-1", "stopping"),
        (2, "gpu-2", "running"),
    ]


def host() -> pb.Host:
    found = pb.Host(id="h-1", name="gpu-1", state=pb.HOST_STATE_ONLINE, network="lab", warning="clock is off")
    found.facts.backend, found.facts.region, found.facts.price_per_hour = "rack", "eu", 2.5
    found.hardware.cpus, found.hardware.memory_bytes = 64, 512 * GB
    found.cpus_used, found.memory_used_bytes = 8, 16 * GB
    found.hardware.gpus.extend([pb.Gpu(name="H100", uuid="a"), pb.Gpu(name="H100", uuid="b", problem="fell off")])
    found.gpu_uuids_used.append("a")
    return found


def test_hosts(server: JobServer, command: Command) -> None:
    server.canned.hosts = [host(), pb.Host(name="new", state=pb.HOST_STATE_OFFLINE)]
    server.canned.networks = [pb.Network(name="lab", broken_links=["a -> b at 10.0.0.2:7000: timed out"])]
    result = command("hosts")
    lines = result.out.splitlines()
    assert lines[0].split() == "NAME STATE NETWORK BACKEND/REGION CPUS MEMORY GPUS PRICE WARNING".split()
    assert lines[1].split("  ")[0] == "gpu-1"
    for part in ("8/64", "16GB/512GB", "2×H100 (1 used, 1 unusable)", "$2.50/h", "rack/eu", "clock is off"):
        assert part in lines[1]
    assert lines[2].split() == ["new", "offline", *["-"] * 7]
    assert "network lab: a -> b at 10.0.0.2:7000: timed out" in result.err


def test_limits_that_are_not_held_are_a_column(server: JobServer, command: Command) -> None:
    loose = host()
    loose.hardware.limits.cpu.by, loose.hardware.limits.shm.unheld = "cgroup v2", "no right to mount"
    server.canned.hosts = [loose]
    titles, row = command("hosts").out.splitlines()
    assert titles.split()[-2:] == ["UNHELD", "WARNING"]
    assert row[titles.index("UNHELD") :].split()[0] == "shm"
    assert json.loads(command("hosts", "--json").out)["hosts"][0]["hardware"]["limits"]["cpu"]["by"] == "cgroup v2"


def test_cordon_resume_and_remove(server: JobServer, command: Command) -> None:
    server.canned.hosts = [host()]
    assert "host gpu-1 (h-1): online,cordoned" in command("host", "cordon", "gpu-1").err
    assert command("host", "resume", "gpu-1").err == "host gpu-1 (h-1): online\n"
    assert command("host", "remove", "gpu-1").err == "host gpu-1 is removed\n"
    assert json.loads(command("host", "cordon", "gpu-1", "--json").out)["host"]["cordoned"] is True
    assert command("host", "remove", "gpu-1", "--gone").err == "host gpu-1 is removed\n"
    asked = [request.gone for request in server.canned.requests("RemoveHost")]  # type: ignore[attr-defined]
    assert asked == [False, True]


def test_explain_has_the_numbers(server: JobServer, command: Command) -> None:
    server.canned.jobs = [running_job()]
    server.canned.explain = job_pb.ExplainJobResponse(
        summary="waits for 8 GPUs",
        offers=[
            job_pb.Offer(
                host_name="gpu-1", cpus=8, rejection="needs 8 GPUs, 6 are free", remedy="with 2 GPUs more free"
            ),
            job_pb.Offer(host_name="gpu-2", nodes_now=2, nodes_chosen=1),
            job_pb.Offer(host_name="gpu-3", nodes_now=2, score=job_pb.Score(hours=1, held=0.25)),
            job_pb.Offer(host_name="gpu-4", nodes_ever=3, near_problem="timed out"),
            job_pb.Offer(host_name="gpu-5", nodes_now=2, nodes_chosen=1),
        ],
        starts_in_seconds=5400,
        start_is_estimated=True,
    )
    lines = command("explain", "j-3").out.splitlines()
    assert lines[0] == "waits for 8 GPUs"
    assert lines[-4:] == [
        "gpu-1: needs 8 GPUs, 6 are free; would fit with 2 GPUs more free",
        "gpu-2, gpu-5: holds one of its nodes; room for 2 more",
        "gpu-3: fits; not chosen now, could hold 2 (1h a node, 25% held)",
        "gpu-4: busy; can hold 3 when idle (not seen how near it is: timed out)",
    ]
    assert lines[1:3] == ["expected to start in 1h30m, or later: something in its way states no max_duration", ""]
    assert json.loads(command("explain", "j-3", "--json").out)["starts_in_seconds"] == 5400


def test_tokens(server: JobServer, command: Command) -> None:
    assert command("token", "create", "--ttl", "30m", "--uses", "0", "--label", "rack=a").out == "rp1.join.token\n"
    (request,) = server.canned.requests("CreateToken")
    assert request == access_pb.CreateTokenRequest(ttl_seconds=1800, uses=0, labels={"rack": "a"})
    now = time.time()
    server.canned.tokens = [
        access_pb.JoinToken(id="t-1", expires_at=now + 3600.4, uses_left=1, labels={"b": "1", "a": "2"}),
        access_pb.JoinToken(id="t-2", expires_at=now - 1, unlimited=True),
        access_pb.JoinToken(id="t-3", expires_at=now + 9, revoked=True),
    ]
    rows = [line.split() for line in command("token", "list").out.splitlines()[1:]]
    assert rows[0] == ["t-1", "1h", "1", "-", "a=2,b=1"]
    assert rows[1] == ["t-2", "expired", "any", "-", "-"]
    assert rows[2][:2] == ["t-3", "revoked"]
    assert command("token", "revoke", "t-1").err == "token t-1 is revoked\n"


def test_the_line_that_installs_stands_before_the_token(server: JobServer, command: Command) -> None:
    server.canned.install_line = "sh -c '…' 192.0.2.2:7445 ab"
    shown = command("token", "create", "--show-install")
    assert shown.out == "sh -c '…' 192.0.2.2:7445 ab\nrp1.join.token\n"
    assert "paste this line" in shown.err
    document = json.loads(command("token", "create", "--show-install", "--json").out)
    assert (document["install_line"], document["token"]) == ("sh -c '…' 192.0.2.2:7445 ab", "rp1.join.token")


def test_without_an_installer_no_token_is_left_behind(server: JobServer, command: Command) -> None:
    refused = command("token", "create", "--show-install")
    assert (refused.code, refused.out) == (74, "")
    assert "serves no installer: start it with --install-listen" in refused.err
    assert server.canned.requests("RevokeToken") == [access_pb.RevokeTokenRequest(id="t-1")]


def test_users(server: JobServer, command: Command) -> None:
    made = command("user", "create", "bob", "--role", "viewer")
    assert 'token = "rpu-new-token"' in made.out
    assert f'address = "{server.address}"' in made.out
    file = server.context.with_name("bob.toml")
    assert str(file) in command("user", "create", "bob", "--output", str(file)).err
    assert file.stat().st_mode & 0o777 == 0o600
    server.canned.users = [access_pb.User(name="ann", role=access_pb.ROLE_ADMIN)]
    assert command("user", "list").out.splitlines()[1].split() == ["ann", "admin", "-"]
    assert command("user", "remove", "bob").err == "user bob is removed\n"
    text = "'Al ice' can't be a user's name"
    server.canned.interrupts["CreateUser"] = [refuse(grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID, text)]
    refused = command("user", "create", "Al ice")
    assert (refused.code, text in refused.err) == (2, True)


def test_web(server: JobServer, command: Command) -> None:
    missing = command("web")
    assert missing.code == 78
    assert "the web page's address is not known here" in missing.err
    server.context.with_name("endpoints.json").write_text('{"web": "https://127.0.0.1:7480/"}')
    assert command("web").out == "https://127.0.0.1:7480/\n"
    server.context.with_name("endpoints.json").write_text('{"web": ""}')
    assert "this coordinator has no web page; start it with --http HOST:PORT" in command("web").err


def test_a_new_users_context_names_the_address_that_hosts_use(server: JobServer, command: Command) -> None:
    # The admin of this machine talks to 127.0.0.1, which is no use to anybody elsewhere.
    server.context.with_name("endpoints.json").write_text('{"version": 1, "join": "gpu.example.org:7443"}')
    assert 'address = "gpu.example.org:7443"' in command("user", "create", "bob").out


def test_drain(server: JobServer, command: Command) -> None:
    server.canned.hosts = [host()]
    server.canned.hosts[0].allocations.append("j-1.0.1")
    assert command("host", "drain", "gpu-1", "--deadline", "30m").err == "host gpu-1 (h-1): online,draining\n"
    assert json.loads(command("host", "drain", "gpu-1", "--json").out)["host"]["vacates_at"] > time.time() - 60
    asked = [(request.host, request.after_seconds) for request in server.canned.requests("DrainHost")]  # type: ignore[attr-defined]
    assert asked == [("gpu-1", 1800.0), ("gpu-1", 0.0)]
    del server.canned.hosts[0].allocations[:]
    assert "online,drained" in command("hosts").out
    assert command("host", "resume", "gpu-1").err == "host gpu-1 (h-1): online\n"
