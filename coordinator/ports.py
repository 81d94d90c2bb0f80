"""Which ports the coordinator takes, and why one could not be had."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rallypoint.address import Address, BadAddress, parse_address

from coordinator.greeting import ENDPOINTS_FILE

if TYPE_CHECKING:
    from coordinator.settings import Settings

_FIELDS = {"listen": "api", "agent_listen": "agents", "http": "web", "install_listen": "install"}
"""Setting -> where ``endpoints.json`` has the port that was taken for it."""


def settle(settings: Settings) -> Settings:
    """The settings with the ports of the last start in place of each port 0, as far as those are still free.

    Agents and contexts know them: on other ports nobody would find a coordinator that was started anew.
    """
    wanted = {"listen": settings.listen, "agent_listen": settings.agent_listen, "http": settings.http}
    wanted["install_listen"] = settings.install_listen
    addresses = {name: parse_address(text) for name, text in wanted.items() if text}
    used = {address.port for address in addresses.values()}
    chosen: dict[str, str] = {}
    last = _last_ports(settings.data_dir)
    for name, address in addresses.items():
        port = last.get(name, 0)
        again = Address(address.host, port)
        if not address.port and port and port not in used and _failure(again) is None:
            used.add(port)
            chosen[name] = str(again)
    return replace(settings, **chosen)  # type: ignore[arg-type]  # All are text.


def why_not(text: str) -> str:
    """Why nobody can listen on ``HOST:PORT``."""
    address = parse_address(text)
    error = _failure(address)
    if isinstance(error, socket.gaierror):
        return f"the host name {address.host!r} is not known"
    if error is None or error.errno == errno.EADDRINUSE:
        # Free again by now, or taken in a way that a second look does not show.
        return "the port is taken"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is no address of this machine"
    if error.errno == errno.EACCES:
        return "ports this low need more rights than this user has"
    return (error.strerror or str(error)).lower()


def _failure(address: Address) -> OSError | None:
    """What a listener would be told."""
    try:
        flags = socket.AI_PASSIVE
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as listener:
                # As servers do: what is left of connections that have ended does not hold the port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(place)
    except OSError as error:
        return error
    return None


def _last_ports(data_dir: Path) -> dict[str, int]:
    try:
        content = json.loads((data_dir / ENDPOINTS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    found = {}
    for name, key in _FIELDS.items():
        text = content.get(key) if isinstance(content, dict) else None
        if isinstance(text, str):
            with contextlib.suppress(BadAddress):
                found[name] = parse_address(text.removeprefix("https://").removesuffix("/")).port
    return found
