"""``coordinator hosts``: the list of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb


_FACTS_AT = 4


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

    header = ["NAME", "STATE", "NETWORK", "BACKEND/REGION", "CPUS", "MEMORY", "GPUS", "PRICE", "WARNING"]
    rows = [_row(host) for host in answer.hosts]
    for title, stated in (("FLEET", "fleet"), ("TYPE", "instance_type")):
        # Most owners state neither, and the table is wide enough.
        texts = [getattr(host.facts, stated) for host in answer.hosts]
        if any(texts):
            header.insert(_FACTS_AT, title)
            rows = [[*row[:_FACTS_AT], text, *row[_FACTS_AT:]] for row, text in zip(rows, texts, strict=True)]
    print_table(header, rows)
    for network in answer.networks:
        for link in network.broken_links:
            say(f"network {network.name}: {link}")


def _row(host: pb.Host) -> list[str]:
    from coordinator.cli import words

    hardware, facts = host.hardware, host.facts
    return [
        host.name,
        words.host_state(host),
        host.network,
        "/".join(part for part in (facts.backend, facts.region) if part),
        f"{host.cpus_used}/{hardware.cpus}" if hardware.cpus else "",
        f"{words.size(host.memory_used_bytes)}/{words.size(hardware.memory_bytes)}" if hardware.memory_bytes else "",
        words.gpus(host),
        words.price(facts.price_per_hour) if facts.HasField("price_per_hour") else "",
        host.warning,
    ]
