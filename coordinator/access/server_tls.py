"""gRPC server credentials. ``rallypoint.tls.prepare_grpc()`` must have run before this module is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import grpc
from rallypoint.tls import NotAHost, PeerIdentity, parse_host_uri

from coordinator.access.certificates import KeyPair
from coordinator.access.errors import Unauthenticated
from coordinator.access.server_identity import ServerIdentity

Clock = Callable[[], float]


def api_credentials(identity: ServerIdentity, clock: Clock) -> grpc.ServerCredentials:
    """For the API port: the server's certificate only; callers bring a token. ``clock`` gives Unix seconds."""
    return _credentials(identity, clock, None)


def agent_credentials(identity: ServerIdentity, clock: Clock, ca_pem: bytes) -> grpc.ServerCredentials:
    """For the agent port: the caller must show a certificate of our CA."""
    return _credentials(identity, clock, ca_pem)


def _credentials(identity: ServerIdentity, clock: Clock, client_ca: bytes | None) -> grpc.ServerCredentials:
    def configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pair.key_pem, pair.chain_pem)], client_ca)

    # gRPC asks at each handshake, in a thread of its own, and takes None for "what is in use".
    shown = identity.current(clock())

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        pair = identity.current(clock())
        if pair is shown:
            return None
        shown = pair
        return configuration(pair)

    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", newer)  # The stubs forget None.
    required = client_ca is not None
    return grpc.dynamic_ssl_server_credentials(configuration(shown), fetcher, require_client_authentication=required)


def calling_host(auth_context: Mapping[str, Iterable[bytes]], cluster_id: str) -> PeerIdentity:
    """The host behind a call on the agent port, from ``context.auth_context()``. Raises ``Unauthenticated``."""
    uris = [value.decode(errors="replace") for value in auth_context.get("peer_uri", ())]
    try:
        identity = parse_host_uri(uris[0] if len(uris) == 1 else "")
    except NotAHost:
        raise Unauthenticated("the caller's certificate does not name a host of Rallypoint") from None
    if identity.cluster_id != cluster_id:
        raise Unauthenticated(f"the caller is a host of cluster {identity.cluster_id}, not of {cluster_id}")
    return identity
