"""``coordinator host``: what one may do to a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say
from coordinator.cli.durations import DURATION
from coordinator.cli.upgrade import upgrade

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


@click.group("host")
def command() -> None:
    """Cordon, drain, resume, upgrade or remove a host."""


@command.command("cordon")
@click.argument("name")
@client_options
def cordon(name: str, context: str | None, as_json: bool) -> None:
    """No new work for host NAME; what runs there goes on."""
    with connect(context) as client:
        _tell(client.cordon(name), as_json)


@command.command("drain", short_help="No new work, and what runs goes elsewhere.")
@click.argument("name")
@click.option("--deadline", type=DURATION, default=0.0, metavar="TIME", help="What runs goes on for so long (30m).")
@client_options
def drain(name: str, deadline: float, context: str | None, as_json: bool) -> None:
    """No new work for host NAME; what runs there is stopped, with its jobs' stop_duration, and placed elsewhere.

    That is no failure and uses up no attempt. With --deadline it goes on until then, and may end before. 'coordinator
    hosts' shows what is left; resume ends the drain.
    """
    with connect(context) as client:
        _tell(client.drain(name, after=deadline), as_json)


@command.command("resume")
@click.argument("name")
@client_options
def resume(name: str, context: str | None, as_json: bool) -> None:
    """New work for host NAME again; a drain that has not come to its end is over."""
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


command.add_command(upgrade)


def _tell(host: pb.Host, as_json: bool) -> None:
    from coordinator.cli import words

    if as_json:
        click.echo(document(host=host))
    else:
        say(f"host {host.name} ({host.id}): {words.host_state(host)}")
