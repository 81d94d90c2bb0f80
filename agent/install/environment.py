"""A private environment: made beside others, checked, and never changed once it is in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.install.coordinator import Coordinator, Manifest, host_kind
from agent.install.errors import CannotInstall, because
from agent.installation import Packages

_SECONDS = 1800.0
# Each file is what its package says it is, and what the agent begins with can be loaded. What is loaded is compiled by
# that, and what is ours besides: nobody but the owner can do it later. The rest of the packages is never loaded here.
_CHECK = """
import base64, compileall, hashlib, importlib.metadata as metadata, sys
for distribution in metadata.distributions():
    for file in distribution.files or ():
        if file.hash and file.suffix != ".pyc":
            digest = hashlib.new(file.hash.mode, distribution.locate_file(file).read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                sys.exit(1)
import agent.cli, agent.daemon, agent.greeting, agent.credentials, rallypoint
for package in (agent, rallypoint):
    compileall.compile_dir(package.__path__[0], quiet=2)
"""


@dataclass(frozen=True, slots=True)
class Source:
    """What environments are made from: the ``wheel``, the interpreter, and where dependencies come from.

    ``folder`` is for what is needed only meanwhile; ``uv``: by uv rather than by pip.
    """

    coordinator: Coordinator
    manifest: Manifest
    wheel: Path
    python: str
    packages: Packages
    folder: Path
    uv: bool = False


def is_whole(environment: Path) -> bool:
    """Whether nothing in an environment is missing or changed."""
    try:
        command = [str(environment / "bin" / "python"), "-I", "-c", _CHECK]
        return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def build(environment: Path, source: Source) -> None:
    """Make an environment that is not there yet. Whoever calls removes what is left of one that fails.

    Raises ``CannotInstall``.
    """
    env = _environ(source)
    found = _wheelhouse(source)
    tool = _Tool(source, env, environment)
    _run([source.python, "-I", "-m", "venv", "--without-pip", str(environment)], env, "the environment can't be made")
    offline = [] if found is None else ["--no-index", "--find-links", str(found)]
    _run([*tool.install(), *offline, str(source.wheel)], env, "the packages can't be installed")
    if not is_whole(environment):
        raise CannotInstall(f"what was installed in {environment} does not start: run the line again")


def _wheelhouse(source: Source) -> Path | None:
    """The coordinator's dependencies for this host, downloaded; None when they come from the package index."""
    if source.packages is not Packages.WHEELHOUSE:
        return None
    wheels = source.manifest.house(host_kind())
    if not wheels:
        kinds = ", ".join(sorted(source.manifest.wheelhouse)) or "none"
        raise CannotInstall(
            f"the coordinator has no wheelhouse for this host ({host_kind()}, has {kinds}): run 'coordinator wheelhouse"
            f" build --python {sys.version_info.major}.{sys.version_info.minor}' there"
        )
    house = source.folder / "wheelhouse"
    house.mkdir(exist_ok=True)
    for wheel in wheels:
        source.coordinator.download(wheel, house)
    return house


class _Tool:
    """What installs packages: pip as the coordinator has it, or else the host's own; or uv."""

    def __init__(self, source: Source, env: Mapping[str, str], environment: Path) -> None:
        self._source = source
        self._env = env
        self._python = str(environment / "bin" / "python")

    def install(self) -> list[str]:
        """The beginning of the command that installs into the environment. Raises ``CannotInstall``."""
        if self._source.uv:
            return self._by_uv()
        options = ["install", "--quiet", "--prefer-binary", "--no-compile"]
        if self._source.manifest.pip is not None:
            pip = self._source.coordinator.download(self._source.manifest.pip, self._source.folder)
            return [self._python, f"{pip}/pip", *options]
        own = [self._source.python, "-I", "-m", "pip"]
        if subprocess.run([*own, "--version"], env=self._env, capture_output=True, check=False).returncode == 0:
            return [*own, "--python", self._python, *options]
        return self._by_uv()

    def _by_uv(self) -> list[str]:
        uv = shutil.which("uv") or shutil.which("uv", path=str(self._source.folder / "uv" / "bin"))
        if uv is None:
            text = "neither the coordinator nor this host has pip, and there is no uv"
            raise CannotInstall(f"{text}: install one of them (apt install python3-pip)")
        return [uv, "pip", "install", "--quiet", "--python", self._python]


def _environ(source: Source) -> dict[str, str]:
    """The user's own, for whoever set a package index in it; without one none is asked."""
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", "PIP_NO_INPUT": "1"}
    env["TMPDIR"] = str(source.folder)
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"):
        env.pop(name, None)
    if source.packages is Packages.WHEELHOUSE:
        env = {name: value for name, value in env.items() if name not in ("PIP_FIND_LINKS", "PIP_INDEX_URL")}
        env["PIP_CONFIG_FILE"] = os.devnull
    return env


def _run(command: Sequence[str], env: Mapping[str, str], failed: str) -> None:
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except OSError as error:
        raise CannotInstall(f"{failed}: {because(error)}") from None
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"{failed}: no end after {_SECONDS / 60:.0f} minutes; check the package index") from None
    if done.returncode:
        raise CannotInstall(f"{failed}: {_said(done.stderr or done.stdout)}{_way(done.stderr + done.stdout)}")


def _said(output: str) -> str:
    """The line that says why."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no reason was given"])[-1]


def _way(output: str) -> str:
    if "No space left" in output:
        return " (make room on that disk)"
    if "Read-only file system" in output:
        return " (mount it for writing, or give another place with --prefix)"
    if "No matching distribution" in output or "Max retries" in output or "NewConnectionError" in output:
        return (
            " (check this host's package index, pip.conf or PIP_INDEX_URL; for hosts without one: run 'coordinator"
            " wheelhouse build' on the coordinator, then the line again)"
        )
    return ""
