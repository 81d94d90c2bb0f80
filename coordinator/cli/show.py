"""``coordinator show``: one job and its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document
from coordinator.gaps import amount_text

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


@click.command("show")
@click.argument("job")
@client_options
def command(job: str, context: str | None, as_json: bool) -> None:
    """Show JOB (an id, or a name: its latest job) and each of its nodes."""
    with connect(context) as client:
        answer = client.job(job)
    if as_json:
        click.echo(document(job=answer.job, nodes=list(answer.nodes)))
        return
    print_job(answer.job)
    if answer.nodes:
        click.echo()
        print_nodes(list(answer.nodes))
    for node in answer.nodes:
        if node.log_dropped_bytes:
            click.echo(f"node {node.rank}: {amount_text(node.log_dropped_bytes)} of its output were dropped")


def print_job(job: pb.Job) -> None:
    """The job's own lines: ``key: value``."""
    from rallypoint.v1 import types_pb2 as pb

    from coordinator.cli import words

    placement = pb.Placement.Name(job.spec.placement).removeprefix("PLACEMENT_").lower()
    lines = [
        ("id", job.id),
        ("name", job.name),
        ("user", job.user),
        ("state", words.job_state(job)),
        ("reason", job.reason),
        ("exit code", str(job.exit_code) if job.HasField("exit_code") else ""),
        ("nodes", f"{job.spec.nodes} ({words.counts(job)})"),
        ("spares", words.spares(job.spec.spares, job.spare_hosts)),
        ("placement", placement),
        ("age", words.age(job.submitted_at)),
        ("ran for", words.age(job.started_at, job.ended_at)),
        ("cost", _cost(job)),
    ]
    for name, value in lines:
        if value:
            click.echo(f"{name + ':':<11}{value}")


def _cost(job: pb.Job) -> str:
    """``$12.34 of a budget of $50.00, $2.49/h now``; empty when it costs nothing and has no budget."""
    from coordinator.cli import words

    budget = f" of a budget of {words.money(job.spec.budget)}" if job.spec.HasField("budget") else ""
    now = f", {words.price(job.price_per_hour)} now" if job.price_per_hour else ""
    return f"{words.money(job.spent)}{budget}{now}" if job.spent or budget or now else ""


def print_nodes(nodes: list[pb.Node], *, to_stderr: bool = False) -> None:
    """A table of nodes."""
    from coordinator.cli import words
    from coordinator.cli.table import print_table

    rows = []
    for node in nodes:
        code = str(node.exit_code) if node.HasField("exit_code") else ""
        ran = words.age(node.started_at, node.ended_at)
        rows.append((str(node.rank), words.node_state(node), node.host_name, code, str(node.attempt), ran, node.reason))
        for copy in node.copies:
            if copy.attempt != node.attempt:
                # Below the copy that leads the node.
                ran = words.age(copy.started_at)
                state = words.node_state(copy)
                rows.append(("", state, copy.host_name, "", str(copy.attempt), ran, copy.reason))
    print_table(("RANK", "STATE", "HOST", "EXIT", "ATTEMPT", "RAN FOR", "REASON"), rows, to_stderr=to_stderr)
