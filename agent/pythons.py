"""`python:` – each node gets an environment of that version, which uv makes; interpreters are kept for the next."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING

import structlog

from agent.containers.command import NO_ANSWER, ending, run
from agent.containers.model import NotReady
from agent.core.model import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.model import Desired
    from agent.places import Places

log = structlog.get_logger()

# The first node of a version may wait for an interpreter to be fetched.
MAKE_SECONDS = 900.0
_ASK_SECONDS = 10.0
_SAID = 300
_MISSING = ("no interpreter found", "no download found", "invalid version", "not a valid")


class Pythons:
    """Environments of Python. ``uv`` is its version; empty: this host has none, and makes no environments."""

    def __init__(self, places: Places, own: Mapping[str, str]) -> None:
        self.uv = ""
        self._program = ""
        self._places = places
        self._own = own
        self._making: dict[str, asyncio.Lock] = {}

    async def look(self) -> bool:
        """See whether uv is here now; whether that is news."""
        before = self.uv
        beside = os.path.dirname(sys.executable)
        home = os.path.join(self._own.get("HOME", "/nonexistent"), ".local", "bin")
        path = os.pathsep.join((beside, self._own.get("PATH", os.defpath), home))
        self._program = shutil.which("uv", path=path) or ""
        self.uv = ""
        if self._program:
            answer = await run([self._program, "--version"], self._env(), _ASK_SECONDS)
            self.uv = (answer.out.split() or ["", ""])[1:2][0] if answer.code == 0 and " " in answer.out else ""
        return self.uv != before

    def directory_of(self, desired: Desired) -> str:
        """The node's environment."""
        return f"{self._places.aux_of(desired.id)}/python"

    async def prepare(self, desired: Desired, tell: Callable[[str], None]) -> None:
        """Make the node's environment; ``tell`` hears that an interpreter is fetched.

        Raises:
            NotReady: it can't be made.
        """
        version = desired.spec.python
        if not self.uv:
            raise NotReady(f"python {version}: this host has no uv", Cause.HOST)
        directory = self.directory_of(desired)
        os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
        argv = [self._program, "venv", "--quiet", "--no-project", "--no-config", "--python", version, directory]
        # One at a time for each version: the first may fetch the interpreter, for all of them.
        async with self._making.setdefault(version, asyncio.Lock()):
            tell(f"making an environment of Python {version}")
            answer = await run(argv, self._env(), MAKE_SECONDS)
        if answer.code:
            said, *causes = _errors(answer.errors) or [answer.err]
            wrong = any(word in said.lower() for word in _MISSING) and answer.code != NO_ANSWER
            cause = Cause.START_FAILED if wrong else Cause.HOST
            told = ending(": ".join((said, *causes)), _SAID)
            raise NotReady(f"python {version}: uv could not make an environment: {told}", cause)

    def activated(self, desired: Desired, env: dict[str, str]) -> dict[str, str]:
        """The node's variables, with its environment in front of everything."""
        directory = self.directory_of(desired)
        return {**env, "VIRTUAL_ENV": directory, "PATH": f"{directory}/bin:{env['PATH']}"}

    def _env(self) -> dict[str, str]:
        kept = {key: value for key, value in self._own.items() if key.startswith(("UV_", "HTTP", "SSL_", "XDG_"))}
        kept |= {key: self._own[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in self._own}
        # With the agent's other files: they go when it goes.
        kept.setdefault("UV_PYTHON_INSTALL_DIR", str(self._places.state / "pythons"))
        kept.setdefault("UV_CACHE_DIR", str(self._places.state / "uv-cache"))
        return kept


def _errors(told: str) -> list[str]:
    """uv's error, and what caused it, the last of which says most; its hints are for those who call it themselves."""
    marks = ("error: ", "Caused by: ")
    lines = (line.strip() for line in told.splitlines())
    return [line.removeprefix(mark) for line in lines for mark in marks if line.startswith(mark)]
