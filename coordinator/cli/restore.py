"""``coordinator restore``: a data directory from a backup."""

from __future__ import annotations

import os
from pathlib import Path

import click

from coordinator.cli.common import document, say


@click.command("restore")
@click.argument("file", metavar="FILE")
@click.option("--data-dir", metavar="DIR", help="Where to; missing or empty.  [default: as for serve]")
@click.option("--force", is_flag=True, help="Also if it is not empty: what is there is moved aside.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(file: str, data_dir: str | None, force: bool, as_json: bool) -> None:
    """Make a data directory from the backup FILE. Then start 'coordinator serve' on it, as before.

    Hosts come back by themselves, at the address that they know, and work that the backup knows goes on. What came
    after the backup is forgotten: jobs that were submitted since are stopped where they run, and hosts that joined
    since must join again. Nothing new is placed for the first half minute, until no host can run anything unknown.
    """
    from coordinator.backup.put_back import put_back
    from coordinator.cli import words
    from coordinator.settings import load_settings

    directory = load_settings({"data_dir": data_dir}, os.environ).data_dir
    manifest = put_back(Path(file).expanduser().absolute(), directory, force=force)
    if as_json:
        parts = {"data_dir": str(directory), "created_at": manifest.created_at, "schema": manifest.schema or None}
        click.echo(document(restored={**parts, "files": len(manifest.members), "logs": manifest.logs}))
        return
    click.echo(str(directory))
    import time

    say(f"Restored as it was {words.age(manifest.created_at, time.time())} ago; start it with 'coordinator serve'.")
    if not manifest.schema:
        say("The database is PostgreSQL: restore what pg_dump took at that time, before you start it.")
    if not manifest.logs:
        say("The backup has no output of jobs: what hosts still have comes back, the rest is lost.")
