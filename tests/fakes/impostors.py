"""Ports at which something else answers: plain TCP that talks, closes or hangs, and TLS with other certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Talk = Callable[[socket.socket], None]


@contextmanager
def answering(talk: Talk) -> Iterator[str]:
    """A TCP port on loopback whose every connection is handed to ``talk``; yields its ``HOST:PORT``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, talk))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def _serve(listener: socket.socket, talk: Talk) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(20)
                talk(connection)


def talks_garbage(connection: socket.socket) -> None:
    """Like an SSH server: speaks first, and not TLS."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
    connection.recv(4096)


def closes(connection: socket.socket) -> None:
    """Closes as soon as it is connected."""


def hangs(connection: socket.socket) -> None:
    """Reads until the other end gives up, and never answers."""
    while connection.recv(4096):
        pass


def self_signed(name: str) -> bytes:
    """Key and certificate of some web server (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(encoding)
    return key.private_bytes(encoding, form, serialization.NoEncryption()) + certificate


def tls_with(pem: Path, heard: list[bytes], protocols: Sequence[str] = ("h2",)) -> Talk:
    """A TLS server that shows the chain in ``pem`` (key included) and records what it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if protocols:
        context.set_alpn_protocols(protocols)
    context.load_cert_chain(pem)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            while data := tls.recv(4096):
                heard.append(data)

    return talk
