"""Users: who may call, and as what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is kept: never the token, only its hash. ``created_at`` in Unix seconds."""

    name: str
    role: str
    token_hash: str
    created_at: float
