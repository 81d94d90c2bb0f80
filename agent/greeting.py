"""The first contact: look at who answers, and check it against the token's pin, before anything is said.

A bare TLS handshake without verification shows the certificate chain; not one byte follows it. Only a chain whose CA
key has the pin's hash makes that CA trusted. (Python's ``ssl`` shows chains from 3.13 on only, hence pyOpenSSL.)
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from rallypoint.address import Address
from rallypoint.tls import SERVER_NAME
from rallypoint.token import TokenText, pin_of

from agent.join_exit import JoinExit, JoinFailed

_CA_NAME = "Rallypoint CA "


def trusted_ca(address: Address, token: TokenText, now: float, timeout: float) -> bytes:
    """The CA certificate (PEM) of the coordinator at ``address``, proven by the token's pin.

    ``now`` in Unix seconds by this host's clock, ``timeout`` in seconds for all of it. Raises ``JoinFailed``.
    """
    deadline = time.monotonic() + timeout
    try:
        with _connect(address, timeout) as connection:
            tls = _shake_hands(address, connection, timeout, deadline)
            chain = [certificate.to_cryptography() for certificate in tls.get_peer_cert_chain() or ()]
            ca_pem = _trusted_of(chain, address, token, now)
            _check_port(address, tls, connection, deadline)
            return ca_pem
    except (ValueError, UnsupportedAlgorithm):  # From cryptography, for certificates that are odd or hostile.
        raise _no_coordinator(address, "its certificate can't be read") from None


def _trusted_of(chain: list[x509.Certificate], address: Address, token: TokenText, now: float) -> bytes:
    ca = next((certificate for certificate in chain if _pin(certificate) == token.pin), None)
    if ca is None:
        raise _stranger(address, chain, token)
    if _cluster(ca) != token.cluster_id:
        raise _wrong_cluster(address, token, _cluster(ca))
    try:
        chain[0].verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        # Whoever answers repeats our public CA certificate, but can't sign with its key.
        raise _wrong_pin(address, token) from None
    for certificate in (chain[0], ca):
        _check_time(address, certificate, now)
    return ca.public_bytes(serialization.Encoding.PEM)


def _shake_hands(address: Address, connection: socket.socket, timeout: float, deadline: float) -> SSL.Connection:
    connection.setblocking(False)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    tls = SSL.Connection(context, connection)
    tls.set_tlsext_host_name(SERVER_NAME.encode())
    tls.set_alpn_protos([b"h2"])
    tls.set_connect_state()
    try:
        _until_done(tls.do_handshake, connection, deadline)
    except TimeoutError:
        raise _no_coordinator(address, f"no TLS answer within {timeout:g} s") from None
    except (SSL.Error, OSError):
        raise _no_coordinator(address, "it does not speak TLS 1.3") from None
    return tls


def _check_port(address: Address, tls: SSL.Connection, connection: socket.socket, deadline: float) -> None:
    """Whether this trusted coordinator's port is the one for joining: it speaks HTTP/2, first, and to anyone."""
    if tls.get_alpn_proto_negotiated() != b"h2":
        raise _wrong_port(address, "the web page's")
    try:
        _until_done(lambda: tls.recv(1), connection, deadline)
    except TimeoutError:
        return  # It is only slow; the request has a time limit of its own.
    except (SSL.Error, OSError):
        # TLS 1.3: a server that wants a certificate of the caller ends the connection only after the handshake.
        raise _wrong_port(address, "the agents'") from None


def _wrong_port(address: Address, whose: str) -> JoinFailed:
    message = (
        f"port {address.port} of {address.host} is {whose}, not the API's: use the one that 'coordinator serve' prints"
    )
    return JoinFailed(JoinExit.NOT_A_COORDINATOR, message)


def _connect(address: Address, timeout: float) -> socket.socket:
    try:
        return socket.create_connection(address, timeout)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        way_out = "check the name, or give the coordinator's IP address"
        raise JoinFailed(JoinExit.NAME_UNKNOWN, f"host name {address.host!r} not found ({reason}): {way_out}") from None
    except OSError as error:
        reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        way_out = "check the address, that 'coordinator serve' runs there, and the firewalls in between"
        raise JoinFailed(JoinExit.UNREACHABLE, f"no connection to {address} ({reason}): {way_out}") from None


def _until_done(step: Callable[[], object], connection: socket.socket, deadline: float) -> None:
    while True:
        reads, writes = False, False
        try:
            step()
            return
        except SSL.WantReadError:
            reads = True
        except SSL.WantWriteError:
            writes = True
        left = max(0.0, deadline - time.monotonic())
        if not any(select.select([connection] * reads, [connection] * writes, [], left)):
            raise TimeoutError


def _pin(certificate: x509.Certificate) -> str:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return pin_of(certificate.public_key().public_bytes(encoding, form))


def _cluster(certificate: x509.Certificate) -> str | None:
    """The cluster that a CA's subject names; None for certificates that are none of Rallypoint's."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    return name.removeprefix(_CA_NAME) if name.startswith(_CA_NAME) else None


def _check_time(address: Address, certificate: x509.Certificate, now: float) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if start.timestamp() <= now <= end.timestamp():
        return
    clock = datetime.fromtimestamp(now, UTC)
    message = (
        f"this host's clock says {_iso(clock)}, but the certificate of the coordinator at {address} is valid from"
        f" {_iso(start)} to {_iso(end)}: set the wrong clock right (NTP), then join again"
    )
    raise JoinFailed(JoinExit.CLOCK_OFF, message)


def _stranger(address: Address, chain: list[x509.Certificate], token: TokenText) -> JoinFailed:
    """What to call a chain without the pinned key. Its names prove nothing; they only choose the words."""
    clusters = [cluster for cluster in map(_cluster, chain) if cluster is not None]
    if not clusters:
        return _no_coordinator(address, "its certificate is not from a Rallypoint cluster")
    if token.cluster_id in clusters:
        return _wrong_pin(address, token)
    return _wrong_cluster(address, token, clusters[0])


def _wrong_pin(address: Address, token: TokenText) -> JoinFailed:
    message = (
        f"whoever answers at {address} calls itself cluster {token.cluster_id} but has not the key that the token is"
        " pinned to, so nothing was sent: check the address; if the cluster's CA was made anew, make a new token"
    )
    return JoinFailed(JoinExit.WRONG_PIN, message)


def _wrong_cluster(address: Address, token: TokenText, found: str | None) -> JoinFailed:
    message = (
        f"the token is for cluster {token.cluster_id}, but the coordinator at {address} is cluster {found}:"
        " check the address, or make a token there with 'coordinator token create'"
    )
    return JoinFailed(JoinExit.WRONG_CLUSTER, message)


def _no_coordinator(address: Address, reason: str) -> JoinFailed:
    message = f"what answers at {address} is not a Rallypoint coordinator ({reason}): check host and port"
    return JoinFailed(JoinExit.NOT_A_COORDINATOR, message)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
