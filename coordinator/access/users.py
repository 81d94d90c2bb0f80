"""Users: who may call, and as what. A user's token is ``rpu1.SECRET``; only its hash is kept and looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from rallypoint.token import hash_secret, new_secret

from coordinator.access.errors import InvalidUser, Unauthenticated
from coordinator.access.roles import Role

PREFIX = "rpu1."
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is kept: never the token, only its hash. ``created_at`` in Unix seconds."""

    name: str
    role: str
    token_hash: str
    created_at: float


@dataclass(frozen=True, slots=True)
class NewUser:
    """The record to keep, and the token that is shown this once."""

    record: User
    token: str = field(repr=False)


def create(name: str, role: Role, now: float) -> NewUser:
    """A new user with a new token. Raises ``InvalidUser``."""
    if not _NAME.fullmatch(name):
        allowed = "up to 63 of a-z, 0-9, '.', '_', '@', '-', beginning with a letter or digit"
        raise InvalidUser(f"{name!r} can't be a user's name: use {allowed}")
    token = PREFIX + new_secret()
    return NewUser(User(name, str(role), hash_secret(token), now), token)


def token_hash_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The hash to look a caller up by, from a call's metadata. Raises ``Unauthenticated``.

    The token has 192 random bits, so a look-up by hash gives nothing away by its timing.
    """
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            return token_hash(value.removeprefix("Bearer "))
    raise Unauthenticated("the call carries no user token: use a context file (--context or RALLYPOINT_CONTEXT)")


def token_hash(token: str) -> str:
    """The hash of a user's token as typed or sent. Raises ``Unauthenticated`` for text that can't be one."""
    token = token.strip()
    if not token.startswith(PREFIX):
        raise Unauthenticated(f"not a user token (they begin with '{PREFIX}'): ask an admin for a context file")
    return hash_secret(token)


def known(user: User | None) -> User:
    """The user that a token's hash was looked up for. Raises ``Unauthenticated`` when there is none."""
    if user is None:
        raise Unauthenticated("this coordinator does not know that user token: ask an admin for a new context file")
    return user
