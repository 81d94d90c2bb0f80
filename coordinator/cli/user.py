"""``coordinator user``: who may call, and what they may do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say

if TYPE_CHECKING:
    from pathlib import Path

_ROLES = ("viewer", "user", "admin")


@click.group("user")
def command() -> None:
    """Create, list and remove users."""


@command.command("create", short_help="Make a user and print their context file.")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="user", show_default=True, help="What they may do.")
@click.option("--output", metavar="FILE", help="Write the user's context file here (mode 0600) instead of printing it.")
@client_options
def create(name: str, role: str, output: str | None, context: str | None, as_json: bool) -> None:
    """Make user NAME (viewer: sees; user: submits and stops too; admin: everything) and print their
    context file: the coordinator's address and CA, and the user's token.

    The token is a secret, shown this once. The user saves the text in a file and names it with RALLYPOINT_CONTEXT.
    """
    from pathlib import Path

    from rallypoint.errors import Reason
    from rallypoint.v1 import access_service_pb2 as access_pb

    from coordinator.access.context import render_context, write_context
    from coordinator.context import Context, find_context, load_context
    from coordinator.failures import Refused

    path = find_context(context or click.get_current_context().find_root().obj)
    mine = load_context(path)
    with connect(context) as client:
        try:
            answer = client.create_user(name, access_pb.Role.Value(f"ROLE_{role.upper()}"))
        except Refused as error:
            if error.reason != Reason.INVALID:
                raise
            raise click.UsageError(str(error)) from None
    theirs = Context(_public_address(path) or mine.address, mine.cluster_id, mine.ca_pem, answer.token, mine.others)
    if output is not None:
        write_context(Path(output), theirs)
        say(f"user {name} ({role}) is made; their context file is {output}")
    elif as_json:
        click.echo(document(user=answer.user, token=answer.token))
    else:
        sys.stdout.write(render_context(theirs))


def _public_address(context: Path) -> str:
    """Where others reach the coordinator whose data directory ``context`` lies in; empty when it lies elsewhere."""
    import json

    try:
        return str(json.loads(context.with_name("endpoints.json").read_text(encoding="utf-8"))["join"])
    except (OSError, ValueError, KeyError):
        return ""


@command.command("list")
@client_options
def list_users(context: str | None, as_json: bool) -> None:
    """List users."""
    with connect(context) as client:
        users = client.users()
    if as_json:
        click.echo(document(users=users))
        return
    from rallypoint.v1 import access_service_pb2 as access_pb

    from coordinator.cli import words
    from coordinator.cli.table import print_table

    rows = [
        (user.name, access_pb.Role.Name(user.role).removeprefix("ROLE_").lower(), words.age(user.created_at))
        for user in users
    ]
    print_table(("NAME", "ROLE", "AGE"), rows)


@command.command("remove", short_help="Remove a user; their jobs go on.")
@click.argument("name")
@client_options
def remove(name: str, context: str | None, as_json: bool) -> None:
    """Remove user NAME; their token is refused from now on, their jobs go on."""
    with connect(context) as client:
        client.remove_user(name)
    if as_json:
        click.echo(document(removed=name))
    else:
        say(f"user {name} is removed")
