"""The coordinator's own certificate: kept on disk, made again at two thirds of its life, served to every listener."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from rallypoint.files import readable_by_others, write_private
from rallypoint.tls import SERVER_NAME

from coordinator.access.ca import SERVER_LIFE, Authority
from coordinator.access.certificates import KeyPair, general_names

if TYPE_CHECKING:
    import ssl

SERVER_FILE = "server.pem"
_CHAIN_START = b"-----BEGIN CERTIFICATE-----"


def server_names(extra: Iterable[str] = ()) -> list[str]:
    """Names and addresses that the certificate carries: the fixed ones, this machine's name, and ``extra``.

    Raises ``ValueError`` when one of ``extra`` can't stand in a certificate.
    """
    names = [SERVER_NAME, "localhost", "127.0.0.1", "::1"]
    hostname = socket.gethostname()
    names += [hostname] if hostname.isascii() and hostname else []
    extra = list(extra)
    for name in extra:
        try:
            general_names([name])
        except ValueError:
            raise ValueError(f"{name!r} can't stand in a certificate: give a host name or an IP address") from None
    return list(dict.fromkeys([*names, *extra]))


class ServerIdentity:
    """The key and certificate that the coordinator shows now. Threads of gRPC ask for it at each handshake."""

    def __init__(self, authority: Authority, directory: Path, names: Iterable[str], life: float = SERVER_LIFE) -> None:
        self._authority = authority
        self._names = list(names)
        self._life = life
        self._lock = threading.Lock()
        self.path = directory / SERVER_FILE
        """PEM file of key and chain, for ``ssl.SSLContext.load_cert_chain``."""
        self._pair = _read(self.path)

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate, which hosts' certificates must be of."""
        return self._authority.certificate_pem

    def current(self, now: float) -> KeyPair:
        """The pair to show at ``now``; issued and stored first when there is none that is good and young enough."""
        with self._lock:
            pair = self._pair
            if pair is None or not self._good(pair, now):
                pair = self._pair = self._authority.issue_server(self._names, now, self._life)
                write_private(self.path, pair.key_pem + pair.chain_pem)
            return pair

    def _good(self, pair: KeyPair, now: float) -> bool:
        leaf, *rest = x509.load_pem_x509_certificates(pair.chain_pem)
        start, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ours = x509.load_pem_x509_certificate(self._authority.certificate_pem)
        fresh = start <= now < start + (end - start) * 2 / 3
        return fresh and rest == [ours] and set(named) == set(general_names(self._names))

    def http_context(self, now: float) -> ssl.SSLContext:
        """A TLS 1.3 context for an HTTPS server. After a renewal, call ``refresh`` on it."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.refresh(context, now)
        return context

    def refresh(self, context: ssl.SSLContext, now: float) -> None:
        """Load the current pair into a context that is in use; handshakes from then on show it."""
        self.current(now)
        context.load_cert_chain(self.path)


def _read(path: Path) -> KeyPair | None:
    """The stored pair; None when it is missing, exposed or damaged, because making a new one costs nothing."""
    try:
        if readable_by_others(path):
            return None
        key, _, chain = path.read_bytes().partition(_CHAIN_START)
        x509.load_pem_x509_certificates(_CHAIN_START + chain)
    except (OSError, ValueError):
        return None
    return KeyPair(key, _CHAIN_START + chain)
