"""`python:` – each node gets an environment of that version, which uv makes; interpreters are kept for the next."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.containers.command import NO_ANSWER, ending, run
from agent.containers.model import NotReady
from agent.core.model import Cause
from agent.users import closed_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.model import Desired
    from agent.places import Places
    from agent.users import Account

log = structlog.get_logger()

# The first node of a version may wait for an interpreter to be fetched.
MAKE_SECONDS = 900.0
_ASK_SECONDS = 10.0
_SAID = 300
_CACHE = "uv-cache"
# What it makes is for the nodes' users, whatever the agent's own mask.
_OPENLY = ("sh", "-c", 'umask 022 && exec "$@"', "uv")
_MISSING = ("no interpreter found", "no download found", "invalid version", "not a valid")


class Pythons:
    """Environments of Python. ``uv`` is its version; empty: this host has none, and makes no environments."""

    def __init__(self, places: Places, own: Mapping[str, str]) -> None:
        self.uv = ""
        self._program = ""
        self._places = places
        self._own = own
        self._making: dict[str, asyncio.Lock] = {}
        self._copying = asyncio.Lock()

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

    async def prepare(self, desired: Desired, owner: Account | None, tell: Callable[[str], None]) -> None:
        """Make the node's environment, which ``owner`` can use (None: whom the agent runs as); ``tell`` hears that an
        interpreter is fetched.

        Raises:
            NotReady: it can't be made.
        """
        version = desired.spec.python
        if not self.uv:
            raise NotReady(f"python {version}: this host has no uv", Cause.HOST)
        directory = self.directory_of(desired)
        os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
        # Of an agent that did not live to start the node; uv makes none where something is.
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        env = self._env() if owner is None else self._env_for(owner)
        argv = [self._program, "venv", "--quiet", "--no-project", "--no-config", "--python", version, directory]
        # One at a time for each version: the first may fetch the interpreter, for all of them.
        async with self._making.setdefault(version, asyncio.Lock()):
            tell(f"making an environment of Python {version}")
            answer = await run([*_OPENLY, *argv], env, MAKE_SECONDS)
        if answer.code:
            said, *causes = _errors(answer.errors) or [answer.err]
            wrong = any(word in said.lower() for word in _MISSING) and answer.code != NO_ANSWER
            cause = Cause.START_FAILED if wrong else Cause.HOST
            told = ending(": ".join((said, *causes)), _SAID)
            raise NotReady(f"python {version}: uv could not make an environment: {told}", cause)
        try:
            if owner is not None:
                _check_open(version, directory, owner)
            async with self._copying:
                program = await asyncio.to_thread(self._uv_for, owner)
            os.symlink(program, f"{directory}/bin/uv")
        except FileExistsError:
            pass

    def _uv_for(self, owner: Account | None) -> str:
        """The program uv for a node to run: root's own home is closed to others, so that they have a copy.

        Raises:
            OSError: it can't be copied.
        """
        own = os.path.realpath(self._program)
        if owner is None or not closed_to(owner, [Path(own)]):
            return own
        copy, about = self._places.state / "uv" / "uv", os.stat(own)
        if not copy.exists() or (copy.stat().st_size, copy.stat().st_mtime_ns) != (about.st_size, about.st_mtime_ns):
            copy.parent.mkdir(mode=0o711, exist_ok=True)
            copy.parent.chmod(0o711)
            part = copy.with_name("uv.part")
            shutil.copy2(own, part)
            part.chmod(0o755)
            part.rename(copy)
        return str(copy)

    def activated(self, desired: Desired, env: dict[str, str]) -> dict[str, str]:
        """The node's variables, with its environment in front of everything."""
        directory = self.directory_of(desired)
        return {**env, "VIRTUAL_ENV": directory, "PATH": f"{directory}/bin:{env['PATH']}"}

    def _env_for(self, owner: Account) -> dict[str, str]:
        """uv is to find no interpreter that is closed to the node, and its cache is for nobody else."""
        env = self._env()
        if env["UV_CACHE_DIR"] == str(self._places.state / _CACHE):
            os.makedirs(env["UV_CACHE_DIR"], 0o700, exist_ok=True)
        folders = (folder for folder in env.get("PATH", "").split(os.pathsep) if os.path.isdir(folder))
        return {**env, "PATH": os.pathsep.join(each for each in folders if not closed_to(owner, [Path(each)]))}

    def _env(self) -> dict[str, str]:
        kept = {key: value for key, value in self._own.items() if key.startswith(("UV_", "HTTP", "SSL_", "XDG_"))}
        kept |= {key: self._own[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in self._own}
        # With the agent's other files: they go when it goes.
        kept.setdefault("UV_PYTHON_INSTALL_DIR", str(self._places.state / "pythons"))
        kept.setdefault("UV_CACHE_DIR", str(self._places.state / _CACHE))
        return kept


def _check_open(version: str, directory: str, owner: Account) -> None:
    python = os.path.realpath(f"{directory}/bin/python")
    closed = closed_to(owner, [Path(python)]) if os.path.exists(python) else ""
    if closed:
        way_out = "open it, or set UV_PYTHON_INSTALL_DIR for the agent to a directory that all users can read"
        message = f"python {version}: uv took {python}, but {closed} is closed to {owner.name!r}, as whom the node runs"
        raise NotReady(f"{message}: {way_out}", Cause.HOST)


def _errors(told: str) -> list[str]:
    """uv's error, and what caused it, the last of which says most; its hints are for those who call it themselves."""
    marks = ("error: ", "Caused by: ", "cause: ")
    lines = (line.strip() for line in told.splitlines())
    return [line.removeprefix(mark) for line in lines for mark in marks if line.startswith(mark)]
