"""What the web needs of the rest of the coordinator, beside ``views.Reader``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from coordinator.logfiles import Run
from coordinator.outputs import Piece


class Identity(Protocol):
    """Who makes a request."""

    @property
    def name(self) -> str:
        """The user's name."""
        ...


class LogReader(Protocol):
    """How the web sees the output of a node: bytes from an offset."""

    async def size(self, job_id: str, rank: int) -> int:
        """Where the output ends so far; 0 for a node without any."""
        ...

    def follow(self, job_id: str, rank: int, offset: int) -> AsyncIterator[Piece]:
        """Pieces and gaps from ``offset`` on; waits for more, and ends when the output is complete.

        Offsets begin again at 0 when the node is tried again.
        """
        ...

    async def read(self, job_id: str, rank: int, offset: int, limit: int) -> Run:
        """Up to ``limit`` bytes from ``offset``, or the gap there; neither at the end of what is stored."""
        ...


Authenticate = Callable[[str], Awaitable[Identity | None]]
"""Whose user token this is; None for a token that is unknown, expired or revoked."""
