"""Which of its own addresses a host tells its peers, best first. Pure.

Only addresses on its own interfaces count: a port forwarded through NAT is no good to NCCL or MPI, which dial the
address that they find.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.hardware.model import Interface

_VIRTUAL = ("docker", "br-", "veth", "virbr", "cni", "podman", "lxc", "lxdbr", "flannel", "cali", "tap", "kube")
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


def peer_addresses(interfaces: Iterable[Interface], listen_host: str) -> tuple[str, ...]:
    """Addresses on which the peer port can be reached: fast real interfaces, then bridges, loopback last."""
    ranked = []
    for order, interface in enumerate(interfaces):
        if not interface.up:
            continue
        rank = 2 if interface.loopback else 1 if interface.name.startswith(_VIRTUAL) else 0
        for address in interface.addresses:
            if _covered(address.ip, listen_host):
                six = ":" in address.ip
                ranked.append((rank, six, -(interface.speed_mbps or 0), order, address.ip))
    found = dict.fromkeys(ip for *_, ip in sorted(ranked))
    if not found and listen_host not in _ANY and _loopback(listen_host):
        # All of 127.0.0.0/8 is the host's own, though its interface lists only the first.
        return (listen_host,)
    return tuple(found)


def _covered(ip: str, listen_host: str) -> bool:
    if ":" in ip and not ipaddress.ip_address(ip).is_global:
        return False
    if listen_host in _ANY:
        return listen_host == "::" or ":" not in ip
    return ip == listen_host


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
