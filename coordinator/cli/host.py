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
    """Cordon, drain, resume, upgrade or remove a host; take its GPUs out of service, and test them."""


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


_GPU = click.option("--gpu", metavar="UUID", default="", help="Its uuid, or its number on the host.")


@command.command("quarantine", short_help="No work for a GPU until it is released.")
@click.argument("name")
@click.option("--gpu", metavar="UUID", required=True, help="Its uuid, or its number on the host.")
@click.option("--reason", required=True, help="For others to read.")
@client_options
def quarantine(name: str, gpu: str, reason: str, context: str | None, as_json: bool) -> None:
    """No work for one GPU of host NAME until it is released; what runs there is stopped and placed elsewhere."""
    with connect(context) as client:
        _tell_health(client.quarantine(name, gpu, reason), as_json)


@command.command("release", short_help="Vouch for a GPU: what was held against it is forgotten.")
@click.argument("name")
@_GPU
@client_options
def release(name: str, gpu: str, context: str | None, as_json: bool) -> None:
    """Vouch for a GPU of host NAME, or for all of them, its bus and its driver: they get work again.

    What is wrong with them now does not count, until it has passed and comes again.
    """
    with connect(context) as client:
        _tell_health(client.release(name, gpu), as_json)


@command.command("test", short_help="Have GPUs tested that nothing holds.")
@click.argument("name")
@_GPU
@client_options
def test(name: str, gpu: str, context: str | None, as_json: bool) -> None:
    """Have a GPU of host NAME tested, or all that nothing holds; they get no work meanwhile.

    The outcome is told by 'coordinator events' and 'coordinator hosts'. It is the quick test of 'agent check', which
    takes seconds; a GPU that fails it is quarantined.
    """
    with connect(context) as client:
        _tell_health(client.test_gpus(name, gpu), as_json)


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


def _tell_health(host: pb.Host, as_json: bool) -> None:
    from coordinator.cli import words

    if as_json:
        click.echo(document(host=host))
        return
    for health in host.gpu_health:
        reason = f": {health.reason}" if health.reason else ""
        say(f"{health.gpu_uuid or 'GPU driver and bus'} of host {host.name}: {words.gpu_health(health)}{reason}")
