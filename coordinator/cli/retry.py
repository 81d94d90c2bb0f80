"""``coordinator retry``: have an ended job tried again."""

from __future__ import annotations

import click

from coordinator.cli.common import client_options, connect, document, say


@click.command("retry")
@click.argument("job")
@click.option("--failed", is_flag=True, help="Only the nodes that failed, not those that were stopped.")
@client_options
def command(job: str, failed: bool, context: str | None, as_json: bool) -> None:
    """Queue JOB, which has ended, again: what is done stays done, what is not begins with its next attempt.

    A group begins anew as a whole. Returns at once; 'coordinator wait JOB' waits for the end.
    """
    from coordinator.cli import words

    with connect(context) as client:
        again = client.retry(job, failed=failed)
    if as_json:
        click.echo(document(job=again))
    else:
        say(f"job {again.id} ({again.name}): {words.job_state(again)}, {words.counts(again)}")
