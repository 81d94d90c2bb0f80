"""``coordinator hosts``: the list of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document, say

if TYPE_CHECKING:
    from rallypoint.v1 import host_service_pb2 as host_pb
    from rallypoint.v1 import types_pb2 as pb

# The table is wide enough: shown where a host has something to say there.
_OPTIONAL = ("TYPE", "FLEET", "RTT", "VERSION", "UNHELD")
_IMPORTANT = (
    "NAME", "STATE", "WARNING", "GPUS", "MEMORY", "CPUS", "NETWORK", "PRICE", "BACKEND/REGION", "VERSION", "UNHELD",
    "TYPE", "FLEET", "RTT",
)  # fmt: skip


@click.command("hosts")
@client_options
def command(context: str | None, as_json: bool) -> None:
    """List hosts: what they have, what is held of it, and what is wrong with them."""
    with connect(context) as client:
        answer = client.hosts()
    if as_json:
        coordinator = {"version": answer.coordinator_version, "build": answer.coordinator_build or None}
        click.echo(document(hosts=list(answer.hosts), networks=list(answer.networks), coordinator=coordinator))
        return
    from coordinator.cli.table import print_table

    cells = [_cells(host) for host in answer.hosts]
    _show_versions_that_differ(answer, cells)
    titles = [title for title in _cells_of_nobody() if title not in _OPTIONAL or any(row[title] for row in cells)]
    print_table(titles, [[row[title] for title in titles] for row in cells], important=_IMPORTANT)
    for network in answer.networks:
        for link in network.broken_links:
            say(f"network {network.name}: {link}")


def _show_versions_that_differ(answer: host_pb.ListHostsResponse, cells: list[dict[str, str]]) -> None:
    """A column that says the same of all hosts, and of the coordinator, says nothing."""
    own = answer.coordinator_build or answer.coordinator_version
    # One that was not installed by the installer knows its release, not its build.
    same = ("", own, answer.coordinator_version)
    if all((host.agent_build or host.agent_version) in same for host in answer.hosts):
        for row in cells:
            row["VERSION"] = ""
    elif own:
        say(f"the coordinator is {own}")


def _cells_of_nobody() -> dict[str, str]:
    from rallypoint.v1 import types_pb2 as pb

    return _cells(pb.Host())


def _cells(host: pb.Host) -> dict[str, str]:
    """A host's row, by the titles of the columns."""
    from coordinator.cli import words

    hardware, facts = host.hardware, host.facts
    memory = f"{words.size(host.memory_used_bytes)}/{words.size(hardware.memory_bytes)}"
    return {
        "NAME": host.name,
        "STATE": words.host_state(host),
        "NETWORK": host.network,
        "BACKEND/REGION": "/".join(part for part in (facts.backend, facts.region) if part),
        "TYPE": facts.instance_type,
        "FLEET": facts.fleet,
        "CPUS": f"{host.cpus_used}/{hardware.cpus}" if hardware.cpus else "",
        "MEMORY": memory if hardware.memory_bytes else "",
        "GPUS": words.gpus(host),
        "PRICE": words.price(facts.price_per_hour) if facts.HasField("price_per_hour") else "",
        "RTT": words.round_trip(host.round_trip_seconds) if host.HasField("round_trip_seconds") else "",
        "VERSION": host.agent_build or host.agent_version,
        "UNHELD": words.unheld(hardware),
        "WARNING": host.warning,
    }
