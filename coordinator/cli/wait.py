"""``coordinator wait``: until a job has ended."""

from __future__ import annotations

import click

from coordinator.cli import exits
from coordinator.cli.common import client_options, connect, document, say
from coordinator.cli.durations import DURATION
from coordinator.cli.reporting import CommandFailed


@click.command("wait")
@click.argument("job")
@click.option("--timeout", type=DURATION, help="Give up after this time (30s, 5m); the job goes on.")
@client_options
def command(job: str, timeout: float | None, context: str | None, as_json: bool) -> int:
    """Wait until JOB has ended; end with its exit code. Says meanwhile what the job's start waits for."""
    from coordinator.cli.ending import exit_code, summary
    from coordinator.cli.preparing import Preparing

    with connect(context) as client:
        try:
            ended = client.wait(job, timeout, None if as_json else Preparing(say).hear)
        except TimeoutError as late:
            raise CommandFailed(f"{late}; it goes on", exits.TIMED_OUT) from None
    if as_json:
        click.echo(document(job=ended))
    else:
        click.echo(summary(ended), err=True)
    return exit_code(ended)
