"""``coordinator ps``: the list of jobs."""

from __future__ import annotations

import click

from coordinator.cli.common import client_options, connect, document


@click.command("ps")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended jobs too.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many jobs, the newest.")
@client_options
def command(everything: bool, limit: int | None, context: str | None, as_json: bool) -> None:
    """List jobs, newest first: what runs, what waits and for what."""
    with connect(context) as client:
        jobs = client.jobs(all=everything, limit=limit or 0)
    if as_json:
        click.echo(document(jobs=jobs))
        return
    from coordinator.cli import words
    from coordinator.cli.table import print_table

    header = ("ID", "NAME", "STATE", "NODES", "USER", "AGE", "REASON")
    rows = [
        (job.id, job.name, words.job_state(job), words.counts(job), job.user, words.age(job.submitted_at), job.reason)
        for job in jobs
    ]
    print_table(header, rows)
