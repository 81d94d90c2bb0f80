"""TLS 1.3 and the names in certificates: what gRPC is told, and contexts for the agents' peer port."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

SERVER_NAME = "coordinator.rallypoint.internal"
"""The name in every coordinator's certificate; clients ask for it, so tunnels and NAT do not matter."""

_HOST_URI = re.compile(r"rallypoint://(?P<cluster>[A-Za-z0-9_-]+)/host/(?P<host>[A-Za-z0-9_-]+)")

# A TLS 1.2 suite that needs an RSA certificate. All of ours are ECDSA, so TLS 1.2 can't be agreed on, while the suites
# of TLS 1.3 are not governed by this setting. gRPC's Python API has no option for the lowest version.
_NO_TLS12 = "ECDHE-RSA-AES128-GCM-SHA256"


class NotAHost(Exception):
    """The peer's certificate does not name a Rallypoint host."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who a host certificate speaks for."""

    cluster_id: str
    host_id: str


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """PEM files of one host: Python's ``ssl`` loads keys from files only. ``credentials`` holds key and certificate."""

    credentials: Path
    ca: Path


def prepare_grpc() -> None:
    """Set gRPC up for this process; call it before ``grpc`` is imported.

    Forbids TLS 1.2, keeps gRPC's fork handlers out (they crash children of ``subprocess`` that must really fork), and
    keeps its own log off the terminal unless the user asked for it with ``GRPC_VERBOSITY``.
    """
    os.environ["GRPC_SSL_CIPHER_SUITES"] = _NO_TLS12
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def host_uri(identity: PeerIdentity) -> str:
    """The SAN URI by which a certificate names a host."""
    return f"rallypoint://{identity.cluster_id}/host/{identity.host_id}"


def parse_host_uri(uri: str) -> PeerIdentity:
    """The reverse of ``host_uri``. Raises ``NotAHost``."""
    match = _HOST_URI.fullmatch(uri)
    if match is None:
        raise NotAHost(f"certificate names {uri!r}, which is not a Rallypoint host")
    return PeerIdentity(match["cluster"], match["host"])


def peer_server_context(files: PeerFiles) -> ssl.SSLContext:
    """For the peer port: TLS 1.3, the caller must show a certificate of the same CA. Raises ``OSError``."""
    import ssl

    return _peer_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)


def peer_client_context(files: PeerFiles) -> ssl.SSLContext:
    """For dialling a peer: who answers is checked by ``peer_identity``, not by its address (no identity)."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _peer_context(context, files)


def _peer_context(context: ssl.SSLContext, files: PeerFiles) -> ssl.SSLContext:
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=files.ca)
    context.load_cert_chain(files.credentials)
    return context


def peer_identity(connection: ssl.SSLObject | ssl.SSLSocket) -> PeerIdentity:
    """Who the other end proved to be, after the handshake. Raises ``NotAHost``."""
    certificate = connection.getpeercert() or {}
    return identity_of(certificate.get("subjectAltName", ()))  # type: ignore[arg-type]


def identity_of(names: tuple[tuple[str, str], ...]) -> PeerIdentity:
    """The host named by a certificate's alternative names, as ``ssl`` lists them. Raises ``NotAHost``."""
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1:
        raise NotAHost(f"certificate names {len(uris)} hosts instead of one")
    return parse_host_uri(uris[0])
