"""What is shown of money."""

from __future__ import annotations

import json
import time

import pytest
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)


def job(number: int, **fields: float) -> pb.Job:
    made = pb.Job(id=f"j-{number}", name=f"job{number}", user="ann", state=pb.JOB_STATE_RUNNING, **fields)
    made.spec.nodes = made.counts.running = 1
    made.submitted_at = time.time() - 65
    return made


def test_ps_has_a_column_for_costs_when_anything_costs_something(server: JobServer, command: Command) -> None:
    server.canned.jobs = [job(1)]
    assert "COST" not in command("ps").out
    server.canned.jobs = [job(1), job(2, spent=12.3456)]
    assert command("ps").out.splitlines() == [
        "ID   NAME  STATE    NODES      USER  AGE   COST    REASON",
        "j-1  job1  running  1 running  ann   1m5s  -       -",
        "j-2  job2  running  1 running  ann   1m5s  $12.35  -",
    ]


def test_show_says_what_a_job_cost_and_what_it_may(server: JobServer, command: Command) -> None:
    server.canned.jobs = [job(1, spent=0.0123, price_per_hour=2.5)]
    server.canned.jobs[0].spec.budget = 50
    assert "cost:      $0.012 of a budget of $50.00, $2.50/h now" in command("show", "j-1").out.splitlines()
    server.canned.jobs = [job(1)]
    assert "cost:" not in command("show", "j-1").out


def test_cost_by_day(server: JobServer, command: Command) -> None:
    days = [
        job_pb.Spending(name="2026-11-22", usd=3.25, gpu_seconds=7200, cpu_seconds=14400, attempts=2),
        job_pb.Spending(name="2026-11-23", usd=0.5, gpu_seconds=0, cpu_seconds=1800, attempts=1),
    ]
    total = job_pb.Spending(usd=3.75, gpu_seconds=7200, cpu_seconds=16200, attempts=3)
    server.canned.costs = job_pb.GetCostsResponse(costs=days, total=total)
    assert command("cost", "--since", "2026-11-20").out.splitlines() == [
        "DAY         COST   GPU-HOURS  CPU-HOURS  ATTEMPTS",
        "2026-11-22  $3.25  2.0        4.0        2",
        "2026-11-23  $0.50  0.0        0.5        1",
        "total       $3.75  2.0        4.5        3",
    ]
    shown = json.loads(command("cost", "--since", "7d", "--by", "user", "--user", "ann", "--json").out)
    assert (shown["by"], len(shown["costs"]), shown["total"]["usd"]) == ("user", 2, 3.75)
    first, second = server.canned.requests("GetCosts")
    assert first == job_pb.GetCostsRequest(by=job_pb.COSTS_BY_DAY, since=1795132800)
    assert isinstance(second, job_pb.GetCostsRequest)
    assert (second.by, second.user) == (job_pb.COSTS_BY_USER, "ann")
    assert abs(time.time() - 7 * 86400 - second.since) < 60


def test_cost_by_job(server: JobServer, command: Command) -> None:
    jobs = [job_pb.Spending(name="j-2", usd=3.25, job_name="train", user="ann")]
    server.canned.costs = job_pb.GetCostsResponse(costs=jobs, total=job_pb.Spending(usd=3.25))
    assert command("cost", "--by", "job").out.splitlines() == [
        "JOB    NAME   USER  COST",
        "j-2    train  ann   $3.25",
        "total  -      -     $3.25",
    ]
    assert json.loads(command("cost", "--by", "job", "--json").out)["costs"][0]["gpu_seconds"] is None


def test_a_since_that_is_no_time_is_refused(server: JobServer, command: Command) -> None:
    refused = command("cost", "--since", "yesterday")
    assert refused.code == 2
    assert "'yesterday' is neither a time such as 7d or 12h nor a day such as 2026-11-23" in refused.err
