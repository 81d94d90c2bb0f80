"""``coordinator events``: what happened to hosts and their GPUs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import JSON_VERSION, client_options, connect, document, say

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


@click.command("events", short_help="Say what happened to hosts and their GPUs.")
@click.argument("host", required=False, default="")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Only the last so many.")
@client_options
def command(host: str, follow: bool, limit: int, context: str | None, as_json: bool) -> None:
    """Say what happened to HOST, or to all hosts: joined, drained, removed, and how its GPUs do, with the reasons.

    The last 2,000 are kept, of all hosts together. With --follow and --json each event is a document on a line.
    """
    with connect(context) as client:
        found = client.events(host, limit=limit, follow=follow, on_away=_away)
        if as_json and not follow:
            click.echo(document(events=list(found)))
            return
        for event in found:
            click.echo(_document(event) if as_json else _line(event))


def _document(event: pb.HostEvent) -> str:
    from coordinator.cli.shape import plain

    return json.dumps({"version": JSON_VERSION, "event": plain(event)})


def _line(event: pb.HostEvent) -> str:
    from coordinator.cli import words

    # What was seen adds something only where the text does not say it already.
    seen = f"; seen: {event.evidence}" if event.evidence and event.evidence not in event.text else ""
    return f"{words.second(event.happened_at)}  {event.host_name}  {event.kind}  {event.text}{seen}"


def _away() -> None:
    say("the coordinator is away; what happens meanwhile is told when it is back")
