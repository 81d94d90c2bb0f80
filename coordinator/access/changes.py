"""Facts about join tokens and users, in the past tense; each carries the whole new record, as in ``core.changes``."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.access.tokens import JoinToken
from coordinator.access.users import User


@dataclass(frozen=True, slots=True)
class TokenStored:
    """A join token was made, used or revoked."""

    token: JoinToken


@dataclass(frozen=True, slots=True)
class UserStored:
    """A user was made, or given another role or token."""

    user: User


@dataclass(frozen=True, slots=True)
class UserRemoved:
    """A user was removed."""

    name: str


AccessChange = TokenStored | UserStored | UserRemoved
