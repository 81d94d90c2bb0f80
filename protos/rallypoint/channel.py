"""gRPC channels and their options. ``rallypoint.tls.prepare_grpc()`` must have run before this module is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
import grpc.aio

from rallypoint.tls import SERVER_NAME
from rallypoint.version import PROTOCOL_VERSION, __version__

PROTOCOL_KEY, RELEASE_KEY = "rallypoint-protocol", "rallypoint-release"
"""Metadata of every call of a user's channel: what the caller speaks and is, for errors that name both sides."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message either side takes; archives and logs go in smaller pieces."""

Options = list[tuple[str, Any]]

_COMMON: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]

_CLIENT: Options = [
    *_COMMON,
    # Addresses differ by tunnel and NAT; the certificate always has this name, and only our own CA is trusted.
    ("grpc.ssl_target_name_override", SERVER_NAME),
    # Callers repeat by themselves, with request ids and epochs; a hidden repeat would blur what was answered.
    ("grpc.enable_retries", 0),
    # The pin check of joining dials directly, so everything does: one way to be reachable.
    ("grpc.enable_http_proxy", 0),
    # Back quickly after a restart of the coordinator, yet not all agents in step (gRPC adds jitter).
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def agent_channel_options() -> Options:
    """For the agent's channel, which always has a stream open: a dead link or a frozen peer is noticed in seconds."""
    return [
        *_CLIENT,
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Without it a peer that is frozen but whose kernel acknowledges is noticed only after a minute.
        ("grpc.http2.ping_timeout_ms", 5_000),
    ]


def user_channel_options() -> Options:
    """For commands: short calls and, with ``logs -f``, streams that are silent for long."""
    return [
        *_CLIENT,
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
    ]


def server_options() -> Options:
    """For the coordinator's servers: allow the clients' pings, and notice clients that are gone."""
    return [
        *_COMMON,
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default a server ends a connection that pings more often than every five minutes without data.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        # Two servers must never share a port by accident: the second shall fail to start.
        ("grpc.so_reuseport", 0),
    ]


def agent_channel(address: str, *, ca_pem: bytes, key_pem: bytes, certificate_pem: bytes) -> grpc.aio.Channel:
    """The agent's channel to the coordinator's agent port: mutual TLS, our CA only. Needs a running event loop."""
    credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, certificate_pem)
    return grpc.aio.secure_channel(address, credentials, options=agent_channel_options())


def join_channel(address: str, *, ca_pem: bytes) -> grpc.Channel:
    """A channel without any identity of the caller, for ``Join``; the CA must have been checked against the pin."""
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_pem), options=user_channel_options())


def user_channel(address: str, *, ca_pem: bytes, token: str) -> grpc.Channel:
    """A user's channel; every call carries ``authorization: Bearer TOKEN``, and the versions of this release."""
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_pem), options=user_channel_options())
    return grpc.intercept_channel(channel, _Saying(token))


class _Details(NamedTuple):
    """A call's details, as gRPC's interceptors want them."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Saying(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Says with each call who calls, and what they speak.

    Not by gRPC's call credentials: those are destroyed by a thread of gRPC's that wants the interpreter, while a
    channel that is being closed holds it and waits for that thread. On a busy machine one command in ten hung so.
    """

    def __init__(self, token: str) -> None:
        self._metadata: list[tuple[str, str | bytes]] = [
            ("authorization", f"Bearer {token}"),
            (PROTOCOL_KEY, PROTOCOL_VERSION),
            (RELEASE_KEY, __version__),
        ]

    def _said(self, details: grpc.ClientCallDetails) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), *self._metadata],
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._said(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._said(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._said(client_call_details), request_iterator)
