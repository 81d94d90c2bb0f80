"""Join tokens: what lets a new host in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


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
