"""From a task file or a command line to the job's own exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import grpc
import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer, away, ended_job, refuse
from tests.support import eventually
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)

DONE, FAILED, STOPPED = pb.JOB_STATE_DONE, pb.JOB_STATE_FAILED, pb.JOB_STATE_STOPPED


def piece(rank: int, offset: int, data: bytes, attempt: int = 1) -> job_pb.TailLogsResponse:
    return job_pb.TailLogsResponse(rank=rank, attempt=attempt, offset=offset, data=data)


def plan() -> job_pb.PlanJobResponse:
    offer = job_pb.Offer(host_name="gpu-1", network="lab", gpus="H100:8", cpus=8, memory_bytes=2**30, nodes_chosen=2)
    offer.price_per_hour = 2.0
    answer = job_pb.PlanJobResponse(offers=[offer, job_pb.Offer(host_name="cpu-1", rejection="has no GPU")])
    answer.nodes_placed, answer.price_per_hour, answer.waiting_for = 2, 2.0, "2 more GPUs"
    return answer


def submitted(server: JobServer) -> job_pb.SubmitJobRequest:
    request = server.canned.requests("SubmitJob")[-1]
    assert isinstance(request, job_pb.SubmitJobRequest)
    return request


def test_spot_and_on_demand_at_once_are_refused(server: JobServer, command: Command) -> None:
    refused = command("submit", "--spot", "--on-demand", "--", "echo", "--spot")
    assert (refused.code, "--spot and --on-demand exclude each other" in refused.err) == (2, True)
    assert not server.canned.requests("PlanJob")


def test_plan_then_output_then_end(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    server.canned.plan = plan()
    server.canned.logs = [piece(0, 0, b"hel"), piece(0, 3, b"lo\nwithout end")]
    result = command("submit", "--", "echo", "--lr", "0.1")
    assert result.code == 0
    assert result.out == "hello\nwithout end"
    assert "gpu-1" in result.err
    assert "2 nodes would start now, $2.00/h in all" in result.err
    assert "waiting: 2 more GPUs" in result.err
    assert result.err.endswith("job j-1 (digits): done after 12s\n")
    assert list(submitted(server).spec.argv) == ["echo", "--lr", "0.1"]


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (ended_job(FAILED, 3), 3),
        (ended_job(FAILED, 137), 137),
        (ended_job(FAILED, 256), 1),
        (ended_job(FAILED), 1),
        (ended_job(STOPPED, 143), 76),
        (ended_job(DONE, 0), 0),
    ],
)
def test_exit_codes_of_jobs(server: JobServer, command: Command, job: pb.Job, code: int) -> None:
    server.canned.jobs = [job]
    assert command("submit", "--", "x").code == code
    assert command("wait", "j-1").code == code


@pytest.mark.parametrize("words", [("submit", "--", "x"), ("wait", "j-1")])
def test_what_the_start_waits_for_is_said_when_it_is_news(
    server: JobServer, command: Command, words: tuple[str, ...]
) -> None:
    said = ["pulling a (1 s)", "pulling a (6 s)", "pulling a: again in 2 s: no such host (7 s)"]
    server.canned.jobs = [ended_job(DONE)]
    server.canned.watched = [
        *(ended_job(pb.JOB_STATE_STARTING, reason=f"preparing: {what}") for what in said),
        ended_job(pb.JOB_STATE_RUNNING),
        ended_job(DONE),
    ]
    told = [line for line in command(*words).err.splitlines() if "preparing" in line]
    assert told == [f"job j-1 (digits): preparing: {said[0]}", f"job j-1 (digits): preparing: {said[2]}"]


def test_ranks_before_lines_and_a_table_of_failed_ones(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(FAILED, 3, reason="rank 1 exited with 3")]
    failed = pb.Node(rank=1, state=pb.NODE_STATE_FAILED, host_name="gpu-2", reason="exited with 3")
    failed.exit_code = 3
    server.canned.nodes = [pb.Node(rank=0, state=pb.NODE_STATE_DONE), failed]
    server.canned.logs = [piece(0, 0, b"a\nb"), piece(1, 0, b"\xff\xfe\n"), piece(0, 3, b"c\n"), piece(1, 3, b"last")]
    result = command("submit", "--nodes", "2", "--", "x")
    assert result.code == 3
    assert result.out.splitlines() == ["[0] a", "[1] \ufffd\ufffd", "[0] bc", "[1] last"]
    assert "1     failed  gpu-2  3" in result.err
    assert "0     done" not in result.err
    assert result.err.endswith("job j-1 (digits): failed with exit code 3 after 12s: rank 1 exited with 3\n")


def test_detach_prints_the_id_alone(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_QUEUED)]
    result = command("submit", "--detach", "--name", "digits", "--", "x")
    assert (result.code, result.out, result.err) == (0, "j-1\n", "")
    assert json.loads(command("submit", "-d", "--json", "--", "x").out)["job"]["id"] == "j-1"


def test_json_is_one_document_at_the_end(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(FAILED, 4)]
    server.canned.nodes = [pb.Node(rank=0, state=pb.NODE_STATE_FAILED)]
    server.canned.logs = [piece(0, 0, b"noise\n")]
    result = command("submit", "--json", "--", "x")
    document = json.loads(result.out)
    assert result.code == 4
    assert (document["version"], document["job"]["exit_code"], document["nodes"][0]["rank"]) == (1, 4, 0)


def test_dry_run_shows_every_offer_and_submits_nothing(server: JobServer, command: Command) -> None:
    server.canned.plan = plan()
    server.canned.plan.spare_hosts.extend(["gpu-7", "gpu-8"])
    result = command("submit", "--dry-run", "--", "x")
    assert "has no GPU" in result.out
    assert result.out.endswith("held as spares: gpu-7, gpu-8\nwaiting: 2 more GPUs\n")
    assert not server.canned.requests("SubmitJob")
    assert json.loads(command("submit", "--dry-run", "--json", "--", "x").out)["plan"]["nodes_placed"] == 2


def test_dry_run_counts_copies_beside_nodes(server: JobServer, command: Command) -> None:
    offers = [job_pb.Offer(host_name=name, nodes_chosen=1) for name in ("east", "west")]
    server.canned.plan = job_pb.PlanJobResponse(offers=offers, nodes_placed=1)
    assert "1 node would start now in 2 copies\n" in command("submit", "--dry-run", "--", "x").out


def test_what_no_host_can_hold_is_said_at_once(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    server.canned.plan = job_pb.PlanJobResponse(
        impossible="no host could ever hold a node of this job: h1: needs 8 GPUs, has 4"
    )
    result = command("submit", "--", "x")
    assert result.code == 73
    assert result.err == (
        "Error: no host could ever hold a node of this job: h1: needs 8 GPUs, has 4;"
        " ask for less, join such a host, or wait with --queue\n"
    )
    assert not server.canned.requests("SubmitJob")
    assert command("submit", "--dry-run", "--", "x").code == 73
    assert command("submit", "--queue", "--", "x").code == 0


def test_files_are_packed_and_sent_before_the_job(server: JobServer, command: Command, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print()")
    (tmp_path / "job.yml").write_text("type: task\ncommands: [python train.py]\nfiles: [train.py]\n")
    server.canned.jobs = [ended_job(DONE)]
    assert command("submit", str(tmp_path / "job.yml"), "--env", "A=1").code == 0
    with tarfile.open(fileobj=io.BytesIO(server.canned.uploaded)) as archive:
        assert archive.getnames() == ["train.py"]
    methods = [method for method, _ in server.canned.asked]
    assert methods.index("UploadArchive") < methods.index("SubmitJob")
    assert submitted(server).spec.files == pb.FileArchive(sha256="ab" * 32, size_bytes=len(server.canned.uploaded))
    assert dict(submitted(server).spec.env) == {"A": "1"}


def test_a_cut_off_submit_is_repeated_under_the_same_id(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    server.canned.interrupts["SubmitJob"] = [away, away]
    assert command("submit", "--", "x").code == 0
    requests = server.canned.requests("SubmitJob")
    assert len(requests) == 3
    assert len({request.request_id for request in requests if isinstance(request, job_pb.SubmitJobRequest)}) == 1
    assert submitted(server).request_id


def test_output_goes_on_after_a_restart_of_the_coordinator(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    server.canned.logs = [piece(0, 0, b"one\n"), piece(0, 4, b"two\n"), piece(0, 8, b"three\n")]
    server.canned.cut_logs_after = [2]
    result = command("submit", "--", "x")
    assert (result.code, result.out) == (0, "one\ntwo\nthree\n")


def test_a_refused_submit_is_one_line(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    server.canned.interrupts["SubmitJob"] = [
        refuse(grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", "the disk is full; free some room on the coordinator")
    ]
    result = command("submit", "--", "x")
    assert (result.code, result.err) == (74, "Error: the disk is full; free some room on the coordinator\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "nothing to submit; name a task file, or a program after '--'"),
        (["python", "x.py"], "several files; to run a program put '--' before it: -- python x.py"),
        (["job.yml", "--", "x"], "both a task file and a program"),
        (["--local", "--detach", "--", "x"], "--local and --detach exclude each other"),
        (["--bogus"], "No such option"),
    ],
)
def test_usage(server: JobServer, command: Command, arguments: list[str], text: str) -> None:
    result = command("submit", *arguments)
    assert result.code == 2
    assert text in result.err


def test_a_wrong_task_has_its_own_code_and_all_its_problems(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text("type: task\ncomands: [x]\nnodes: 0\n")
    result = command("submit", str(file))
    assert result.code == 65
    assert f"Error: {file}:2: unknown field 'comands'; a task has no such field; did you mean 'commands'?" in result.err
    assert f"Error: {file}:3: nodes 0 can't be had" in result.err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(server: JobServer) -> None:
    server.canned.jobs = [ended_job(pb.JOB_STATE_RUNNING)]
    server.canned.logs = [piece(0, 0, b"working\n")]
    server.canned.hold_logs = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "coordinator", "submit", "--", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "RALLYPOINT_CONTEXT": str(server.context)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    eventually(lambda: server.canned.requests("TailLogs"), what="follow")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "job j-1 goes on; follow it: coordinator logs -f j-1; end it: coordinator stop j-1" in err
    assert "Traceback" not in err
    assert not server.canned.requests("StopJob")


def test_a_script_that_is_not_sent_is_pointed_out(
    server: JobServer, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.canned.jobs = [ended_job(DONE)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print(1)")
    note = "note: train.py is a file here, but is not sent to the hosts; to send it, add: --files train.py"
    assert note in command("submit", "--detach", "--", "python3", "train.py").err
    assert note not in command("submit", "--detach", "--files", "train.py", "--", "python3", "train.py").err


def test_a_dry_run_fits_a_screen(server: JobServer, command: Command) -> None:
    score = job_pb.Score(price_per_hour=6, hours=2, latency_seconds=0.0042)
    cloud = job_pb.Offer(
        host_name="cloud-1", network="net-1", backend="cloud", region="us", gpus="8 × NVIDIA H100 80GB HBM3",
        gpus_free=8, cpus=32, cpus_free=32, memory_bytes=64 * 2**30, memory_free_bytes=48 * 2**30, price_per_hour=24,
        nodes_now=4, nodes_chosen=4, variant="fast", precision="fp8", score=score,
    )  # fmt: skip
    rack = job_pb.Offer(
        host_name="rack-1", network="net-1", backend="rack", region="eu", gpus="4 × NVIDIA A100", gpus_free=1, cpus=16,
        cpus_free=15, rejection="needs 2 GPUs, 1 of 4 that match are free", remedy="with 1 GPU more free",
    )  # fmt: skip
    server.canned.plan = job_pb.PlanJobResponse(
        offers=[cloud, rack], nodes_placed=4, price_per_hour=24, price_until_done=72, waiting_for="2 of 6 nodes wait"
    )
    server.canned.plan.price_basis = "by max_duration, at most"
    server.canned.plan.warnings.append("its budget of 20.00 USD may be spent before it is done")
    server.canned.plan.links = "link: InfiniBand 400 Gb/s"
    lines = command("submit", "--dry-run", "--", "x").out.splitlines()
    assert lines == [
        "HOST     NETWORK  BACKEND/REGION  GPUS                  CPUS   MEMORY     VARIANT     NODE     LATENCY  NODES",
        "cloud-1  net-1    cloud/us        8/8 × H100 80GB HBM3  32/32  48GB/64GB  fast (fp8)  $6.00/h  4.2ms    4",
        "rack-1   net-1    rack/eu         1/4 × A100            15/16  -          -           -        -        0",
        "",
        "cloud-1: chosen for 4 of the 4 nodes it can hold now (2h a node, 0% held)",
        "rack-1: needs 2 GPUs, 1 of 4 that match are free; would fit with 1 GPU more free",
        "4 nodes would start now, $24.00/h in all, $72.00 until done (by max_duration, at most)",
        "link: InfiniBand 400 Gb/s",
        "waiting: 2 of 6 nodes wait",
        "note: its budget of 20.00 USD may be spent before it is done",
    ]
    assert max(len(line) for line in lines) <= 120


def test_parameters_hosts_and_limits_are_typed(server: JobServer, command: Command) -> None:
    server.canned.jobs = [ended_job(DONE)]
    typed = (
        "--grid lr=1e-3,1e-4 --grid seed=1..2 --max-running 2 --after prep --after j-7:failed --priority 3 --spot"
        " --optimize pack --near 10.0.0.5:9000 --max-price 2.5 --region eu-1 --region eu-2 --fleet lab --host gpu-*"
        " --backend aws --label disk=nvme --budget 5 --preemptible"
    )
    assert command("submit", *typed.split(), "--schedule", "0 2 * * *", "-d", "--", "x", "${{ matrix.lr }}").code == 0
    spec = submitted(server).spec
    assert (spec.nodes, spec.placement, spec.max_running) == (4, pb.PLACEMENT_ANY, 2)
    assert [(axis.name, list(axis.values)) for axis in spec.matrix.axes] == [("lr", ["1e-3", "1e-4"]), ("seed", [])]
    assert [(each.job, each.when) for each in spec.after] == [("prep", pb.AFTER_WHEN_OK), ("j-7", pb.AFTER_WHEN_FAILED)]
    assert (list(spec.where.regions), list(spec.where.hosts)) == (["eu-1", "eu-2"], ["gpu-*"])
    assert (spec.where.spot, spec.where.max_price) == (pb.SPOT_POLICY_SPOT, 2.5)
    assert (spec.optimize, spec.near, spec.priority) == (pb.OPTIMIZE_PACK, "10.0.0.5:9000", 3)
    assert (spec.budget, spec.preemptible, spec.schedule) == (5.0, True, "0 2 * * *")


def test_help_has_a_heading_for_each_kind_of_option(command: Command) -> None:
    told = command("submit", "--help").out
    headings = [line for line in told.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "The task:",
        "Resources and hosts:",
        "Many nodes, each with its values:",
        "When, and for how long:",
        "Before whom, and for how much:",
        "This command:",
    ]
    from coordinator.spec.options import Options

    for name in Options.__slots__:
        assert f"--{name.replace('_', '-').removesuffix('-policy')}" in told
