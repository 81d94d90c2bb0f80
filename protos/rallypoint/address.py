"""``HOST:PORT`` as people type it, IPv6 in brackets included."""

from __future__ import annotations

from typing import NamedTuple


class BadAddress(ValueError):
    """The text is not HOST:PORT."""


class Address(NamedTuple):
    """A host name or address and a TCP port; ``str()`` gives the form that ``parse_address`` and gRPC take."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPv6]:PORT``; port 0 is allowed (any free port). Raises ``BadAddress``."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or "/" in host or (":" in host and not bracketed):
        raise BadAddress(f"{text!r} is not an address: write HOST:PORT, or [IPv6]:PORT")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise BadAddress(f"{text!r} has no valid port: write HOST:PORT with a port from 0 to 65535")
    return Address(host, int(port))
