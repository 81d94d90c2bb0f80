"""What goes wrong between a network's hosts and the coordinator, made by the gateway's kernel: silence, loss, slowness.

Each is a context manager; when its block ends the link is whole again. Nothing is refused or reset: packets vanish.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.multihost.net import Site, enter, nft

IN, OUT, BOTH = "in", "out", "both"
_numbers = count(1)


@contextmanager
def silent(site: Site, host: str, way: str) -> Iterator[None]:
    """Nothing comes to ``host`` from the coordinator (``IN``), or nothing goes to it (``OUT``), or neither."""
    address = site.hosts[host].address
    rules = {IN: [f"ip daddr {address}"], OUT: [f"ip saddr {address}"]}
    rules[BOTH] = rules[IN] + rules[OUT]
    with _dropping(site.gateways[site.hosts[host].network], rules[way]):
        yield


@contextmanager
def lossy(site: Site, network: str, percent: int) -> Iterator[None]:
    """So many of a hundred packets are lost, each way."""
    rules = [f'{side} "wan" numgen random mod 100 < {percent}' for side in ("iifname", "oifname")]
    with _dropping(site.gateways[network], rules):
        yield


@contextmanager
def slow(site: Site, network: str, rate: str) -> Iterator[None]:
    """The line carries no more than ``rate`` (as tc writes it, ``256kbit``), each way."""
    ends = ((site.gateways[network], "wan"), (site.hub_namespace, f"to-{network}"))
    for namespace, device in ends:
        limit = ["root", "tbf", "rate", rate, "burst", "16kb", "latency", "1s"]
        subprocess.run([*enter(namespace), "tc", "qdisc", "replace", "dev", device, *limit], check=True)
    try:
        yield
    finally:
        for namespace, device in ends:
            subprocess.run([*enter(namespace), "tc", "qdisc", "del", "dev", device, "root"], check=True)


@contextmanager
def _dropping(gateway: str, rules: list[str]) -> Iterator[None]:
    table = f"fault{next(_numbers)}"
    chain = f"add table ip {table}\nadd chain ip {table} pass {{ type filter hook forward priority -10; }}\n"
    nft(gateway, chain + "".join(f"add rule ip {table} pass {rule} drop\n" for rule in rules))
    try:
        yield
    finally:
        nft(gateway, f"delete table ip {table}\n")
