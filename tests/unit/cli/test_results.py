"""Results of many nodes: which are shown, by which parameter, and how an ended job is tried again."""

from __future__ import annotations

import json

import grpc
import pytest
from rallypoint.errors import Reason
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from tests.fakes.job_server import JobServer, away, refuse
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)


def search(nodes: int, failed: int) -> tuple[pb.Job, list[pb.Node]]:
    """An ended job with two parameters, of which every so many-th node failed."""
    job = pb.Job(id="j-3", name="search", user="ann", state=pb.JOB_STATE_FAILED)
    job.spec.nodes = nodes
    job.spec.matrix.axes.add(name="lr", values=["0.1"])
    found = []
    for rank in range(nodes):
        state = pb.NODE_STATE_FAILED if rank % failed == failed - 1 else pb.NODE_STATE_DONE
        node = pb.Node(rank=rank, state=state, attempt=1, host_name="gpu-1", started_at=100, ended_at=112 + rank)
        node.exit_code = 1 if state == pb.NODE_STATE_FAILED else 0
        node.parameters.update({"lr": str(1 / (rank + 1)), "seed": str(rank)})
        node.last_line = f"loss {rank}"
        found.append(node)
    job.counts.failed = sum(node.state == pb.NODE_STATE_FAILED for node in found)
    job.counts.done = nodes - job.counts.failed
    return job, found


def serve(server: JobServer, nodes: int, failed: int = 100) -> None:
    job, found = search(nodes, failed)
    server.canned.jobs, server.canned.nodes = [job], found


def rows(out: str) -> list[list[str]]:
    lines = out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("RANK"))
    return [line.split() for line in lines[begin + 1 :] if line[:1].isdigit()]


def test_results_are_shown_by_parameter_with_the_last_line_of_output(server: JobServer, command: Command) -> None:
    serve(server, 3, failed=3)
    table = command("show", "search").out.splitlines()[-4:]
    assert table[0].split() == "RANK LR SEED STATE HOST EXIT ATTEMPT RAN FOR LAST LINE REASON".split()
    assert table[2].split() == ["1", "0.5", "1", "done", "gpu-1", "0", "1", "13s", "loss", "1", "-"]
    assert all(request.last_lines for request in server.canned.requests("ListNodes"))  # type: ignore[attr-defined]


def test_results_are_also_shown_where_the_matrix_is_too_long_to_be_told(server: JobServer, command: Command) -> None:
    serve(server, 3)
    server.canned.jobs[0].spec.ClearField("matrix")
    assert "LAST LINE" in command("show", "search").out
    assert server.canned.requests("ListNodes")[-1].last_lines  # type: ignore[attr-defined]


def test_of_many_nodes_a_bounded_table_is_shown_with_what_failed_first(server: JobServer, command: Command) -> None:
    serve(server, 5000)
    out = command("show", "search").out
    shown = rows(out)
    assert len(shown) == 50
    assert {row[3] for row in shown} == {"failed"}
    assert out.splitlines()[-1] == "… and 4950 more: --nodes all, --nodes failed, --nodes 0-99"
    serve(server, 5000, failed=1000)
    assert [row[3] for row in rows(command("show", "search").out)] == ["failed"] * 5 + ["done"] * 45


@pytest.mark.parametrize(
    ("which", "ranks"),
    [
        ("failed", list(range(99, 2500, 100))),
        ("0-2,7, 2498-9999", [0, 1, 2, 7, 2498, 2499]),
        ("all", list(range(2500))),
    ],
)
def test_nodes_are_chosen_by_state_or_rank(server: JobServer, command: Command, which: str, ranks: list[int]) -> None:
    serve(server, 2500)
    assert [int(row[0]) for row in rows(command("show", "search", "--nodes", which).out)] == ranks


def test_nodes_come_a_page_at_a_time_and_all_of_them_in_json(server: JobServer, command: Command) -> None:
    serve(server, 2500)
    document = json.loads(command("show", "search", "--json").out)
    assert [node["rank"] for node in document["nodes"]] == list(range(2500))
    assert document["nodes"][3]["parameters"] == {"lr": "0.25", "seed": "3"}
    assert [request.first_rank for request in server.canned.requests("ListNodes")] == [0, 1000, 2000]  # type: ignore[attr-defined]


def test_results_are_sorted_by_parameter_or_column_as_numbers(server: JobServer, command: Command) -> None:
    serve(server, 60)
    by_lr = rows(command("show", "search", "--sort", "lr").out)
    assert [int(row[0]) for row in by_lr] == list(range(59, 9, -1))
    assert [int(row[0]) for row in rows(command("show", "search", "--sort=-ran").out)[:2]] == [59, 58]
    refused = command("show", "search", "--sort", "lrr")
    assert (refused.code, "columns are lr, seed, rank" in refused.err) == (2, True)
    refused = command("show", "search", "--nodes", "-5")
    assert (refused.code, "nor ranks like 0-99,200" in refused.err) == (2, True)


def test_a_job_is_tried_again(server: JobServer, command: Command) -> None:
    serve(server, 10, failed=2)
    server.canned.jobs[0].state = pb.JOB_STATE_QUEUED
    result = command("retry", "search", "--failed")
    assert (result.code, result.err) == (0, "job j-3 (search): queued, 5 done, 5 failed\n")
    assert server.canned.requests("RetryJob") == [job_pb.RetryJobRequest(job="search", failed=True)]
    assert json.loads(command("retry", "j-3", "--json").out)["job"]["state"] == "queued"


def test_a_retry_that_was_cut_off_is_repeated_and_succeeds_if_it_had_arrived(
    server: JobServer, command: Command
) -> None:
    serve(server, 2)
    conflict = refuse(grpc.StatusCode.FAILED_PRECONDITION, Reason.CONFLICT, "job 'search' is queued; wait")
    server.canned.interrupts["RetryJob"] = [away, conflict]
    assert command("retry", "search").code == 0
    server.canned.interrupts["RetryJob"] = [conflict]
    assert command("retry", "search").code == 74
