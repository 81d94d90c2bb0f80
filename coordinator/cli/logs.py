"""``coordinator logs``: a job's output."""

from __future__ import annotations

import click

from coordinator.cli.common import connect


@click.command("logs")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--node", type=click.IntRange(0), metavar="R", help="Only the node with rank R, its bytes as they are.")
@click.option("--attempt", type=click.IntRange(0), metavar="N", help="Another attempt than the latest.")
@click.option("--context", metavar="FILE", help="Context file. [RALLYPOINT_CONTEXT]")
def command(job: str, follow: bool, node: int | None, attempt: int | None, context: str | None) -> None:
    """Print the output of JOB; of several nodes, each line with its rank before it."""
    from coordinator.cli.follow import print_output
    from coordinator.cli.output import Screen

    with connect(context) as client:
        ranked = node is None and client.job(job).job.spec.nodes > 1
        print_output(client.tail(job, rank=node, attempt=attempt, follow=follow), Screen(), ranked=ranked)
