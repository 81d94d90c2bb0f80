"""The text of a join token: ``rp1.CLUSTER.PIN.ID.SECRET.CHECK``.

The pin lets a host check the coordinator before it says anything; the check tells a cut or mistyped paste from a token
that the coordinator refuses. No cryptography package here: a host parses the token before it loads anything heavy.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "rp1"
_FIELD = re.compile(r"[A-Za-z0-9_-]+")
_PIN_LENGTH = 43  # 32 bytes in base64url without padding


class TokenDamaged(ValueError):
    """The text is not a whole join token; copy the whole line that 'coordinator token create' printed."""


@dataclass(frozen=True, slots=True)
class TokenText:
    """The parts of a join token as they are written; the secret never shows in ``repr``."""

    cluster_id: str
    pin: str
    token_id: str
    secret: str = field(repr=False)


def format_token(token: TokenText) -> str:
    """The one line that a person copies to the host."""
    body = ".".join((PREFIX, token.cluster_id, token.pin, token.token_id, token.secret))
    return f"{body}.{checksum(body)}"


def parse_token(text: str) -> TokenText:
    """Read a token; surrounding white space is ignored. Raises ``TokenDamaged``; its message never shows the token."""
    body, _, check = text.strip().rpartition(".")
    parts = body.split(".")
    if text.strip().partition(".")[0] != PREFIX:
        raise TokenDamaged(f"this is not a join token: it must begin with '{PREFIX}.'; make one with {_MAKE}")
    whole = len(parts) == 5 and all(_FIELD.fullmatch(part) for part in parts) and len(parts[2]) == _PIN_LENGTH
    if not whole or not hmac.compare_digest(check.encode(), checksum(body).encode()):
        raise TokenDamaged(f"the join token is damaged (cut or mistyped): copy the whole line that {_MAKE} printed")
    return TokenText(*parts[1:])


_MAKE = "'coordinator token create'"


def checksum(body: str) -> str:
    """Six characters that notice a slip of the hand; no protection against an attacker, and not meant as one."""
    return base64.urlsafe_b64encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode().rstrip("=")


def pin_of(spki_der: bytes) -> str:
    """The pin of a key: SHA-256 over its SubjectPublicKeyInfo (DER), as base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(spki_der).digest()).decode().rstrip("=")


def new_secret() -> str:
    """A new 192-bit secret, 32 characters."""
    return secrets.token_urlsafe(24)


def hash_secret(secret: str) -> str:
    """What is stored of a secret. A plain hash suffices: a long random secret can't be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
