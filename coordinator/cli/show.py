"""``coordinator show``: one job and its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document
from coordinator.gaps import amount_text

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb

# So much of what is slow in a group is shown; all of it is in the JSON.
SLOW_SHOWN = 10


@click.command("show")
@click.argument("job")
@click.option("--nodes", "which", default="", metavar="WHICH", help="all, a state (failed), or ranks (0-99,200).")
@click.option("--sort", default="", metavar="COLUMN", help="By a column or parameter; -COLUMN: the greatest first.")
@client_options
def command(job: str, which: str, sort: str, context: str | None, as_json: bool) -> None:
    """Show JOB (an id, or a name: its latest job) and its nodes: of many the first that failed, then those that run.

    Nodes of a job with parameters are shown with these, and with the last line of their output.
    """
    from coordinator.cli.results import SHOWN, choose, print_nodes, sort_nodes

    with connect(context) as client:
        shown = client.job(job).job
        chosen = choose(client, shown, which, everything=as_json or bool(sort))
        nodes = sort_nodes(chosen, sort)
    if as_json:
        click.echo(document(job=shown, nodes=nodes))
        return
    print_job(shown)
    left = 0
    if sort and not which:
        left = max(0, len(nodes) - SHOWN)
        del nodes[SHOWN:]
    elif not which and len(nodes) >= SHOWN:
        left = _placed(shown) - len(nodes)
    if nodes:
        click.echo()
        print_nodes(nodes)
    if left > 0:
        click.echo(f"… and {left} more: --nodes all, --nodes failed, --nodes 0-99")
    for node in nodes:
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
        ("starts", words.moment(job.starts_at) if job.state == pb.JOB_STATE_QUEUED else ""),
        ("nodes", f"{job.spec.nodes} ({words.counts(job)})"),
        ("spares", words.spares(job.spec.spares, job.spare_hosts)),
        ("placement", placement),
        ("age", words.age(job.submitted_at)),
        ("ran for", words.age(job.started_at, job.ended_at)),
        ("cost", _cost(job)),
        ("preflight", words.preflight(job.preflight) if job.HasField("preflight") else ""),
    ]
    for name, value in lines:
        if value:
            click.echo(f"{name + ':':<11}{value}")
    for line in job.preflight.slow[:SLOW_SHOWN]:
        click.echo(f"{'slow:':<11}{line}")


def _cost(job: pb.Job) -> str:
    """``$12.34 of a budget of $50.00, $2.49/h now``; empty when it costs nothing and has no budget."""
    from coordinator.cli import words

    budget = f" of a budget of {words.money(job.spec.budget)}" if job.spec.HasField("budget") else ""
    now = f", {words.price(job.price_per_hour)} now" if job.price_per_hour else ""
    return f"{words.money(job.spent)}{budget}{now}" if job.spent or budget or now else ""


def _placed(job: pb.Job) -> int:
    """How many nodes were placed at least once; a little less, where some of those are pending again."""
    counts = job.counts
    return counts.placed + counts.running + counts.stopping + counts.done + counts.failed
