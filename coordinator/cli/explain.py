"""``coordinator explain``: why a job runs where it does, or does not run."""

from __future__ import annotations

import click

from coordinator.cli.common import client_options, connect, document, say


@click.command("explain")
@click.argument("job")
@client_options
def command(job: str, context: str | None, as_json: bool) -> None:
    """Say for every host why JOB runs or does not run there, with the numbers."""
    with connect(context) as client:
        answer = client.explain(job)
    if as_json:
        from coordinator.cli.shape import plain

        click.echo(document(**plain(answer)))
        return
    from coordinator.cli import words
    from coordinator.cli.offers import print_offers

    click.echo(answer.summary)
    if answer.HasField("starts_in_seconds"):
        more = ", or later: something in its way states no max_duration" if answer.start_is_estimated else ""
        click.echo(f"expected to start in {words.span(answer.starts_in_seconds)}{more}")
    if answer.nearest:
        click.echo(f"nearest: {answer.nearest}")
    if answer.offers:
        click.echo()
        print_offers(list(answer.offers), verdict=True, submitted=True)
    for network in answer.networks:
        for link in network.broken_links:
            say(f"network {network.name}: {link}")
