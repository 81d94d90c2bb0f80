"""``coordinator web``: where the web page is."""

from __future__ import annotations

import json

import click

from coordinator.cli import exits
from coordinator.cli.common import client_options, document
from coordinator.cli.reporting import CommandFailed


@click.command("web")
@client_options
def command(context: str | None, as_json: bool) -> None:
    """Print the web page's address. Sign in there with the token from your context file."""
    from coordinator.context import find_context

    path = find_context(context or click.get_current_context().find_root().obj).with_name("endpoints.json")
    try:
        page = json.loads(path.read_text(encoding="utf-8"))["web"]
    except (OSError, ValueError, KeyError):
        raise CommandFailed(
            f"the web page's address is not known here: {path} can't be read; it is written by 'coordinator serve' into"
            " its data directory: run this on the coordinator's machine, as the user who runs it",
            exits.NOT_CONFIGURED,
        ) from None
    if not page:
        raise CommandFailed("this coordinator has no web page; start it with --http HOST:PORT", exits.NOT_CONFIGURED)
    click.echo(document(web=page) if as_json else page)
