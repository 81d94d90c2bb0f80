"""``coordinator ps``: the list of jobs."""

from __future__ import annotations

import click

from coordinator.cli.common import client_options, connect, document

# Before the reason, which comes last.
_COST_AT = 6
_IMPORTANT = ("ID", "STATE", "REASON", "NAME", "NODES", "AGE", "USER", "COST")


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

    header: tuple[str, ...] = ("ID", "NAME", "STATE", "NODES", "USER", "AGE", "REASON")
    rows: list[tuple[str, ...]] = [
        (job.id, job.name, words.job_state(job), words.counts(job), job.user, words.age(job.submitted_at), job.reason)
        for job in jobs
    ]
    if any(job.spent for job in jobs):
        # Most clusters are owned, and the table is wide enough.
        header = (*header[:_COST_AT], "COST", *header[_COST_AT:])
        rows = [
            (*row[:_COST_AT], words.money(job.spent) if job.spent else "", *row[_COST_AT:])
            for row, job in zip(rows, jobs, strict=True)
        ]
    print_table(header, rows, important=_IMPORTANT)
