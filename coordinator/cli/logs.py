"""``coordinator logs``: a job's output."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import click

from coordinator.cli import exits
from coordinator.cli.common import JSON_VERSION, connect
from coordinator.cli.reporting import CommandFailed

if TYPE_CHECKING:
    from rallypoint.v1 import job_service_pb2 as job_pb


@click.command("logs")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--node", type=click.IntRange(0), metavar="R", help="Only the node with rank R, its bytes as they are.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Another attempt than the latest.")
@click.option("--tail", type=click.IntRange(1), metavar="N", help="Begin with the last N lines of each node.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document for each piece, a line each.")
@click.option("--context", metavar="FILE", help="Context file. [RALLYPOINT_CONTEXT]")
def command(
    job: str,
    follow: bool,
    node: int | None,
    attempt: int | None,
    tail: int | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Print the output of JOB; of several nodes, each line with its rank before it."""
    from coordinator.cli.follow import print_output
    from coordinator.cli.output import Screen

    with connect(context) as client:
        found = client.job(job)
        if attempt is not None:
            _check_attempt(found, node, attempt)
        pieces = client.tail(found.job.id, rank=node, attempt=attempt, follow=follow, lines=tail)
        if as_json:
            for piece in pieces:
                click.echo(_line(piece))
        else:
            print_output(pieces, Screen(), ranked=node is None and found.job.spec.nodes > 1)


def _check_attempt(found: job_pb.GetJobResponse, rank: int | None, attempt: int) -> None:
    """Refuse an attempt that has not been. A rank that can't be is refused by the coordinator."""
    # An older coordinator tells the latest attempt alone.
    made = (max(node.attempt, node.last_attempt) for node in found.nodes if rank in (None, node.rank))
    had = max(made, default=0)
    if attempt <= had or (rank is not None and rank >= found.job.spec.nodes):
        return
    whose = "any node" if rank is None else f"node {rank}"
    latest = f"the latest is {had}" if had else "none was made yet"
    text = f"job {found.job.id} has no attempt {attempt} of {whose}: {latest}; leave --attempt out for the latest"
    raise CommandFailed(text, exits.NOT_FOUND)


def _line(piece: job_pb.TailLogsResponse) -> str:
    if piece.dropped_bytes:
        gap = {"dropped_bytes": piece.dropped_bytes, "drop_reason": piece.drop_reason}
        place = {"rank": piece.rank, "attempt": piece.attempt, "offset": piece.offset - piece.dropped_bytes}
        return json.dumps({"version": JSON_VERSION, **place, **gap})
    try:
        content = {"text": piece.data.decode()}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(piece.data).decode()}
    place = {"rank": piece.rank, "attempt": piece.attempt, "offset": piece.offset}
    return json.dumps({"version": JSON_VERSION, **place, **content})
