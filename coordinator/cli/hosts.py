"""``coordinator hosts``: the list of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


@click.command("hosts")
@client_options
def command(context: str | None, as_json: bool) -> None:
    """List hosts: what they have, what is held of it, and what is wrong with them."""
    with connect(context) as client:
        answer = client.hosts()
    if as_json:
        click.echo(document(hosts=list(answer.hosts), networks=list(answer.networks)))
        return
    from coordinator.cli.table import print_table

    header = ("NAME", "STATE", "NETWORK", "BACKEND/REGION", "CPUS", "MEMORY", "GPUS", "PRICE", "WARNING")
    print_table(header, [_row(host) for host in answer.hosts])
    for network in answer.networks:
        for link in network.broken_links:
            say(f"network {network.name}: {link}")


def _row(host: pb.Host) -> tuple[str, ...]:
    from coordinator.cli import words

    hardware, facts = host.hardware, host.facts
    return (
        host.name,
        words.host_state(host),
        host.network,
        "/".join(part for part in (facts.backend, facts.region) if part),
        f"{host.cpus_used}/{hardware.cpus}" if hardware.cpus else "",
        f"{words.size(host.memory_used_bytes)}/{words.size(hardware.memory_bytes)}" if hardware.memory_bytes else "",
        words.gpus(host),
        words.price(facts.price_per_hour) if facts.HasField("price_per_hour") else "",
        host.warning,
    )
