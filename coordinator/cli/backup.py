"""``coordinator backup``: one file from which the coordinator comes back as it was."""

from __future__ import annotations

import os
from pathlib import Path

import click

from coordinator.cli.common import document, say


@click.command("backup")
@click.option("--output", metavar="FILE", help="Where to.  [default: rallypoint-DATE-TIME.tar in this directory]")
@click.option("--data-dir", metavar="DIR", help="The coordinator's, as for serve.")
@click.option("--config", metavar="FILE", help="Settings of the coordinator, as for serve.")
@click.option("--database-url", metavar="URL", help="The coordinator's database, as for serve.")
@click.option("--without-logs", is_flag=True, help="Leave the jobs' output out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(output: str | None, without_logs: bool, as_json: bool, **flags: str | None) -> None:
    """Write a backup of the coordinator on this machine; it may run meanwhile.

    In it are the database as it stands at one moment, the CA's keys, files and output of jobs, and the coordinator's
    settings file. Whoever has it can pass for the coordinator: keep it as you would keep its keys. Of a coordinator
    that uses PostgreSQL it holds everything but the database, which pg_dump takes.
    """
    import time

    from coordinator.backup.take import default_name, take
    from coordinator.cli import words
    from coordinator.settings import load_settings

    config = flags.pop("config")
    settings = load_settings(flags, os.environ, config)
    now, logs, own = time.time(), not without_logs, settings.database_url is None
    path = Path(output).expanduser() if output else Path(default_name(now))
    taken = take(settings.data_dir, path.absolute(), logs=logs, database=own, now=now)
    if not own:
        say("The database is PostgreSQL and not in this backup: take it with pg_dump, now.")
    if as_json:
        parts = {"path": str(taken.path), "bytes": taken.size, "files": len(taken.manifest.members), "logs": logs}
        click.echo(document(backup={**parts, "schema": taken.manifest.schema or None, "created_at": now}))
        return
    click.echo(str(taken.path))
    say(f"{len(taken.manifest.members)} files, {words.size(taken.size)}; keep it as secret as the coordinator's keys.")
