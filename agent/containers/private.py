"""Images that took a password to fetch: that one is on a host makes it nobody else's.

Who shows no password, or another one than a registry has taken here, has the registry asked first. Which images these
are outlives the agent, the passwords do not.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from agent.closed import for_owner
from agent.containers import names

if TYPE_CHECKING:
    from pathlib import Path

    from agent.containers.model import Auth

FILE = "private.json"


class Private:
    """Those of one runtime; ``folder`` is private to the agent."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._names: set[str] = set()
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._names = {str(name) for name in json.loads(self._file.read_bytes())}
        self._shown: set[tuple[str, Auth | None]] = set()

    def asks(self, image: str, auth: Auth | None) -> bool:
        """Whether the registry has to be asked, though the image is here."""
        name = names.full(image)
        return name in self._names and (name, auth) not in self._shown

    def showed(self, image: str, auth: Auth | None) -> None:
        """The registry gave the image to who shows this."""
        name = names.full(image)
        self._shown.add((name, auth))
        if auth is not None and name not in self._names:
            self._names.add(name)
            self._keep()

    def gone(self, name: str) -> None:
        """The image is not on this host any more."""
        if name in self._names:
            self._names.discard(name)
            self._keep()

    def _keep(self) -> None:
        part = self._file.with_suffix(".part")
        with contextlib.suppress(OSError):
            with open(part, "w", opener=for_owner) as file:
                json.dump(sorted(self._names), file)
            part.rename(self._file)
