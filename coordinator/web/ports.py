"""What the web needs of the rest of the coordinator, beside ``views.Reader``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol


class Identity(Protocol):
    """Who makes a request."""

    @property
    def name(self) -> str:
        """The user's name."""
        ...


class LogReader(Protocol):
    """How the web sees the output of a node: bytes from an offset."""

    async def size(self, job_id: str, rank: int) -> int:
        """Bytes of output stored so far; 0 for a node without any."""
        ...

    def follow(self, job_id: str, rank: int, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks as ``(offset, bytes)`` from ``offset`` on; waits for more, and ends when the output is complete.

        Offsets begin again at 0 when the node is tried again.
        """
        ...

    async def read(self, job_id: str, rank: int, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes from ``offset``; empty at the end of what is stored."""
        ...


Authenticate = Callable[[str], Awaitable[Identity | None]]
"""Whose user token this is; None for a token that is unknown, expired or revoked."""
