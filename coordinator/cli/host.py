"""``coordinator host``: what one may do to a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


@click.group("host")
def command() -> None:
    """Cordon, resume or remove a host."""


@command.command("cordon")
@click.argument("name")
@client_options
def cordon(name: str, context: str | None, as_json: bool) -> None:
    """No new work for host NAME; what runs there goes on."""
    with connect(context) as client:
        _tell(client.cordon(name), as_json)


@command.command("resume")
@click.argument("name")
@client_options
def resume(name: str, context: str | None, as_json: bool) -> None:
    """New work for host NAME again."""
    with connect(context) as client:
        _tell(client.resume(name), as_json)


@command.command("remove", short_help="Forget a host that has no work.")
@click.argument("name")
@click.option("--gone", is_flag=True, help="The machine will never be back: what it held is lost.")
@client_options
def remove(name: str, gone: bool, context: str | None, as_json: bool) -> None:
    """Forget host NAME, which must have no work; it has to join again to come back.

    With --gone you state that the machine is gone for good: its nodes count as lost and are tried again elsewhere as
    their jobs' retry rules say, also those that are kept for it. If it still runs somewhere, they run twice.
    """
    with connect(context) as client:
        client.remove_host(name, gone=gone)
    if as_json:
        click.echo(document(removed=name))
    else:
        say(f"host {name} is removed")


def _tell(host: pb.Host, as_json: bool) -> None:
    from coordinator.cli import words

    if as_json:
        click.echo(document(host=host))
    else:
        say(f"host {host.name} ({host.id}): {words.host_state(host)}")
