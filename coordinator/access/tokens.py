"""Join tokens: what lets a new host in."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from rallypoint.token import TokenText, format_token, hash_secret, new_secret

from coordinator.access.errors import InvalidTokenRequest, TokenExpired, TokenRevoked, TokenUnknown, TokenUsedUp

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_NEW = "make a new one with 'coordinator token create'"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token as it is kept: never the secret, only its hash. Times in Unix seconds; ``uses_left=None`` is no limit."""

    id: str
    secret_hash: str
    created_at: float
    expires_at: float
    uses_left: int | None = 1
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    created_by: str = ""
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """What an admin asks for. ``ttl`` in seconds; ``uses=None`` is no limit; every host that joins gets ``labels``."""

    ttl: float = 3600.0
    uses: int | None = 1
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class NewToken:
    """The record to keep, and the text that is shown this once."""

    record: JoinToken
    text: str = field(repr=False)


def create(order: TokenOrder, *, cluster_id: str, pin: str, created_by: str, now: float) -> NewToken:
    """A new join token. Raises ``InvalidTokenRequest``."""
    _check(order)
    secret = new_secret()
    record = JoinToken(
        id=secrets.token_hex(4),
        secret_hash=hash_secret(secret),
        created_at=now,
        expires_at=now + order.ttl,
        uses_left=order.uses,
        labels=MappingProxyType(dict(order.labels)),
        created_by=created_by,
    )
    return NewToken(record, format_token(TokenText(cluster_id, pin, record.id, secret)))


def redeem(token: JoinToken | None, secret: str, now: float) -> JoinToken:
    """The token after one more use; the caller stores it in the same transaction as the host.

    Raises ``TokenUnknown`` (no record, or a wrong secret), ``TokenRevoked``, ``TokenExpired`` or ``TokenUsedUp``.
    """
    # Hashed and compared even without a record, so that time does not tell which ids exist.
    expected = token.secret_hash if token is not None else hash_secret("")
    matches = hmac.compare_digest(expected, hash_secret(secret))
    if token is None or not matches:
        raise TokenUnknown(f"this cluster does not know that join token: {_NEW}")
    named = {"token_id": token.id}
    if token.revoked:
        raise TokenRevoked(f"join token {token.id} was revoked: {_NEW}", named)
    if now >= token.expires_at:
        over, seen = _iso(token.expires_at), _iso(now)
        raise TokenExpired(f"join token {token.id} expired at {over} (now {seen}): {_NEW}", named)
    if token.uses_left is None:
        return token
    if token.uses_left <= 0:
        raise TokenUsedUp(f"join token {token.id} is used up: {_NEW}, with --uses for several hosts", named)
    return replace(token, uses_left=token.uses_left - 1)


def revoke(token: JoinToken) -> JoinToken:
    """The token, no longer accepted; hosts that have joined with it stay."""
    return replace(token, revoked=True)


def _check(order: TokenOrder) -> None:
    if not 0 < order.ttl <= 10 * 366 * 86_400:
        raise InvalidTokenRequest(f"a join token can't live {order.ttl:g} s: give --ttl between 1s and ten years")
    if order.uses is not None and order.uses < 1:
        raise InvalidTokenRequest(f"a join token can't have {order.uses} uses: give --uses of 1 or more")
    for key, value in order.labels.items():
        if not _LABEL.fullmatch(key) or len(value) > 255 or not value.isprintable():
            raise InvalidTokenRequest(
                f"label {key!r}={value!r} is not acceptable: a key has up to 63 letters, digits, '.', '_', '-' or '/',"
                " a value up to 255 printable characters"
            )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
