"""What the installer leaves on a host: where everything is, and ``install.json``, which says so.

    PREFIX/versions/VERSION-SHA8/   a virtual environment each; SHA8 is the beginning of the wheel's SHA-256
    PREFIX/current                  a link to the one in use, replaced atomically
    PREFIX/install.json             this file's ``Installation``: no secrets, readable by all (0644)

The installer writes it, an upgrade switches ``current``, uninstalling removes what ``created`` names. Standard library
only: the installer reads it with the host's own Python, before anything is installed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

FILE_NAME = "install.json"
FORMAT = 1
_INSTALL = "install with the line that 'coordinator token create --show-install' prints"


class NotInstalled(Exception):
    """No installation was found; install with the line that 'coordinator token create --show-install' prints."""


class InstallationDamaged(Exception):
    """An ``install.json`` can't be used; the installer's line, run again, repairs it."""


class Mode(StrEnum):
    """For whom it is installed."""

    ROOT = "root"
    USER = "user"


class Supervisor(StrEnum):
    """What starts the agent again when it dies."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd-user"
    BACKGROUND = "background"


class Packages(StrEnum):
    """Where dependencies come from: the package index that the host is set up for, or the coordinator's wheelhouse."""

    INDEX = "index"
    WHEELHOUSE = "wheelhouse"


@dataclass(frozen=True, slots=True)
class Created:
    """What was not there before and must go again: absolute paths and names, in the order in which they were made.

    ``dirs`` with all that is in them; ``parents`` are directories above them, to go when nothing else is in them;
    ``users`` are system users, their groups with them; ``lingers`` those whose services go on without a login.
    """

    users: tuple[str, ...] = ()
    dirs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    lingers: tuple[str, ...] = ()

    def plus(self, other: Created) -> Created:
        """Both, each thing once: a second run finds what the first one made, and it stays ours."""
        return Created(*(tuple(dict.fromkeys((*getattr(self, f.name), *getattr(other, f.name)))) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation. ``unit`` is the systemd unit's name, ``user`` the system user that the agent runs as; both
    empty where there is none. ``coordinator`` is where the host joined (``HOST:PORT``, with commas), ``install_url``
    and ``pin`` are what the installer's line named, ``python`` the interpreter that the environments are made from.
    """

    prefix: Path
    mode: Mode
    supervisor: Supervisor
    state_dir: Path
    coordinator: str
    install_url: str
    pin: str
    python: str
    packages: Packages = Packages.INDEX
    unit: str = ""
    user: str = ""
    created: Created = field(default_factory=Created)

    @property
    def file(self) -> Path:
        """Where this is kept."""
        return self.prefix / FILE_NAME

    @property
    def versions(self) -> Path:
        """The folder of environments."""
        return self.prefix / "versions"

    @property
    def current(self) -> Path:
        """The link to the environment in use."""
        return self.prefix / "current"

    @property
    def agent(self) -> Path:
        """The ``agent`` command of whichever version is in use."""
        return self.current / "bin" / "agent"


SYSTEM_STATE_DIR = Path("/var/lib/rallypoint/agent")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an installation goes unless told otherwise."""

    mode: Mode
    prefix: Path
    state_dir: Path
    bin_dir: Path
    unit_dir: Path


def layout(root: bool, environ: Mapping[str, str]) -> Layout:
    """The places for root, or for the ordinary user whose ``HOME`` and XDG folders ``environ`` names."""
    if root:
        state = SYSTEM_STATE_DIR
        return Layout(Mode.ROOT, Path("/opt/rallypoint"), state, Path("/usr/local/bin"), Path("/etc/systemd/system"))
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    state = Path(environ.get("XDG_STATE_HOME") or home / ".local/state")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    folder = "rallypoint"
    return Layout(Mode.USER, data / folder, state / folder / "agent", home / ".local/bin", config / "systemd/user")


def version_name(version: str, sha256: str) -> str:
    """The name of the environment of a wheel with this version and SHA-256 (hexadecimal)."""
    return f"{version}-{sha256[:8]}"


def current_version(prefix: Path) -> str | None:
    """The name of the environment in use; None when there is none."""
    try:
        return Path(os.readlink(prefix / "current")).name
    except OSError:
        return None


def switch(prefix: Path, name: str) -> None:
    """Put the environment ``name`` to use; at each moment the link leads to the old or to the new one.

    Raises:
        OSError: it can't be, or there is no such environment.
    """
    os.stat(prefix / "versions" / name)
    with tempfile.TemporaryDirectory(dir=prefix, prefix=".current.") as folder:
        link = Path(folder) / "current"
        link.symlink_to(Path("versions") / name)
        os.replace(link, prefix / "current")
    _sync(prefix)


def save(installation: Installation) -> None:
    """Write ``install.json``, whole or not at all.

    Raises:
        OSError: it can't be.
    """
    content = {"format": FORMAT, **asdict(installation)}
    handle, temporary = tempfile.mkstemp(dir=installation.prefix, prefix=f".{FILE_NAME}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, default=str)
            file.write("\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, installation.file)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync(installation.prefix)


def load(prefix: Path) -> Installation:
    """The installation in ``prefix``.

    Raises:
        NotInstalled: there is none.
        InstallationDamaged: its file can't be used.
    """
    path = prefix / FILE_NAME
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise InstallationDamaged(f"{path} is of format {content['format']}, not {FORMAT}: {_INSTALL} again")
        return _from_json(content)
    except (FileNotFoundError, NotADirectoryError):
        raise NotInstalled(f"there is no Rallypoint in {prefix}: {_INSTALL}") from None
    except OSError as error:
        raise InstallationDamaged(f"{path} can't be read ({error.strerror}): make it readable to this user") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InstallationDamaged(f"{path} is damaged: {_INSTALL} again, which repairs it") from None


def find(environ: Mapping[str, str] | None = None, environment: str = sys.prefix) -> Installation:
    """The installation that this very program belongs to, else the one in the usual place for this user.

    ``environment``: the virtual environment that the program runs from. Raises as ``load``.
    """
    own = Path(environment).resolve().parent
    if own.name == "versions" and (own.parent / FILE_NAME).exists():
        return load(own.parent)
    return load(layout(os.geteuid() == 0, os.environ if environ is None else environ).prefix)


def _from_json(content: dict[str, Any]) -> Installation:
    texts = {name: _text(content, name) for name in ("coordinator", "install_url", "pin", "python", "unit", "user")}
    # An earlier release did not know of lingering.
    made = {"lingers": [], **content["created"]}
    created = {f.name: tuple(_text({0: each}, 0) for each in made[f.name]) for f in fields(Created)}
    return Installation(
        prefix=Path(_text(content, "prefix")),
        mode=Mode(content["mode"]),
        supervisor=Supervisor(content["supervisor"]),
        state_dir=Path(_text(content, "state_dir")),
        packages=Packages(content["packages"]),
        created=Created(**created),
        **texts,
    )


def _text(content: Mapping[Any, Any], name: object) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return value


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
