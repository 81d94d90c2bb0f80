"""The agent's settings: flags, then ``RALLYPOINT_AGENT_*``, then ``agent.toml``, then defaults.

The file is ``agent.toml`` in the state directory unless another is named; its keys are the names of the flags with
underscores. ``[labels]`` is a table there and ``k=v,k=v`` in the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rallypoint.files import write_private

from agent import installation, notices, values
from agent.facts import HostFacts
from agent.identity import default_state_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "RALLYPOINT_AGENT_"
FILE_NAME = "agent.toml"
# What was given to `agent join`; `agent.toml`, which is the owner's own, goes before it.
JOINED_FILE_NAME = "joined.toml"


# In that file alone: what was given with --config.
_JOINED_CONFIG = "config"


class ConfigError(Exception):
    """A setting can't be used: the message names it, where it comes from, and what it should be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one agent runs. ``None`` and empty mean "not given"; ``price`` is USD an hour for the whole host,
    ``coordinator`` the addresses (``HOST:PORT``) of its port for agents that count instead of those known from joining,
    ``cgroups`` whether nodes get control groups where the host allows it. ``leave_within``: seconds in which an
    ephemeral or spot host that is told to go has to be gone; ``interruption_*`` as in ``notices.Question``.

    ``cpu_limit``: ``weight`` (a node gets at least its CPUs), ``hard`` (and no more) or ``off``. ``task_pids``:
    processes and threads of a node at most. ``task_user`` is whom nodes run as (empty: see ``users.users_of``),
    ``allow_users`` whom else their jobs may name.

    In bytes: ``log_keep`` of one node's output and ``log_keep_all`` of all stay on this host, ``log_rate`` a second go
    out, ``disk_reserve`` of its disk are kept free of new work, ``archive_keep`` are taken by jobs' files.

    ``containers`` is ``auto``, ``podman``, ``docker`` or ``off``; of the images that were fetched ``image_keep`` stay.
    """

    state_dir: Path
    peer_listen: str = "0.0.0.0:7433"
    name: str = ""
    backend: str = "local"
    region: str = "local"
    network: str = ""
    price: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    spot: bool = False
    instance_type: str = ""
    fleet: str = ""
    ephemeral: bool = False
    leave_within: float = 25.0
    interruption_url: str = ""
    interruption_every: float = 5.0
    interruption_header: str = ""
    interruption_when: str = ""
    interruption_token_url: str = ""
    cpus: int | None = None
    master_port_range: tuple[int, int] = (20000, 29999)
    work_dir: Path | None = None
    coordinator: tuple[str, ...] = ()
    cgroups: bool = True
    log_keep: int = 256 << 20
    log_keep_all: int = 4 << 30
    log_rate: int = 16 << 20
    disk_reserve: int | None = None
    archive_keep: int = 4 << 30
    containers: str = "auto"
    allow_privileged: bool = False
    image_keep: int = 20
    cpu_limit: str = "weight"
    task_pids: int | None = None
    task_user: str = ""
    allow_users: tuple[str, ...] = ()

    @property
    def facts(self) -> HostFacts:
        """What the owner states of this host."""
        return HostFacts(
            backend=self.backend,
            region=self.region,
            network=self.network,
            price_per_hour=self.price,
            labels=self.labels,
            spot=self.spot,
            instance_type=self.instance_type,
            fleet=self.fleet,
            ephemeral=self.ephemeral,
        )

    @property
    def interruption(self) -> notices.Question | None:
        """Where the provider says that it takes the machine back; None: nowhere."""
        if not self.interruption_url:
            return None
        asked = (self.interruption_every, self.interruption_header, self.interruption_when, self.interruption_token_url)
        return notices.Question(self.interruption_url, *asked)

    @property
    def peer_address(self) -> tuple[str, int]:
        """Host and port of ``peer_listen``."""
        return values.split_address(self.peer_listen)


def usual_state_dir() -> Path:
    """The state directory of the installation that this program belongs to; without one, this user's."""
    own = Path(sys.prefix).resolve().parent
    if own.name == "versions":
        with contextlib.suppress(installation.NotInstalled, installation.InstallationDamaged):
            return installation.load(own.parent).state_dir
    return default_state_dir()


def load(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Put the settings together; ``flags`` that are ``None`` or empty were not given.

    Raises:
        ConfigError: a value or the file can't be used.
    """
    given = {key: value for key, value in flags.items() if value not in (None, (), {}, "")}
    state = given.get("state_dir") or environ.get(PREFIX + "STATE_DIR")
    state_dir = Path(state) if state else usual_state_dir()
    found: dict[str, Any] = {}
    joined = _from_file(state_dir / JOINED_FILE_NAME, required=False)
    joined_file = joined.pop(_JOINED_CONFIG, None)
    file = file or joined_file
    _merge(found, joined)
    _merge(found, _from_file(file or state_dir / FILE_NAME, required=file is not None))
    _merge(found, _from_environment(environ))
    _merge(found, checked_flags(given))
    found["state_dir"] = state_dir.absolute()
    return Settings(**found)


def warnings(environ: Mapping[str, str]) -> list[str]:
    """What is odd about the environment and yet no error: variables that look like settings and are none."""
    from rallypoint.environment import unknown_variables

    return unknown_variables(environ, PREFIX, _NAMES)


def checked_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as settings. Raises ConfigError."""
    return {key: _checked(key, value, "--" + key.replace("_", "-")) for key, value in given.items()}


def own_settings(state_dir: Path) -> set[str]:
    """What the owner's own file there sets. Raises ConfigError."""
    return set(_from_file(state_dir / FILE_NAME, required=False))


def restate(state_dir: Path, given: Mapping[str, Any]) -> list[str]:
    """Keep ``given`` with what was given to ``agent join``, instead of what that said of the same; what is new.

    Raises:
        ConfigError: what is there can't be read.
        OSError: it can't be written.
    """
    before = _from_file(state_dir / JOINED_FILE_NAME, required=False)
    after = dict(before)
    _merge(after, given)
    changed = sorted(key for key in given if after[key] != before.get(key))
    if changed:
        save_joined(state_dir, after)
    return changed


def save_joined(state_dir: Path, given: Mapping[str, Any]) -> None:
    """Keep what was given to ``agent join`` for ``agent run``; values are text, numbers, truths, paths, tables of text.

    Raises:
        OSError: it can't be written.
    """
    import json

    lines, tables = [], []
    for key, value in given.items():
        if isinstance(value, dict):
            tables += [f"[{key}]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items())]
        else:
            # A JSON text, number or truth is a TOML one.
            lines.append(f"{key} = {json.dumps(value, default=str)}")
    file, owner = state_dir / JOINED_FILE_NAME, state_dir.stat()
    write_private(file, "\n".join([*lines, *tables, ""]).encode())
    if owner.st_uid != os.geteuid():
        # By root, for an agent of another user.
        os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _merge(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    labels = {**found.get("labels", {}), **more.get("labels", {})}
    found.update(more)
    if labels:
        found["labels"] = labels


def _from_file(path: Path, required: bool) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        # A state directory that is a file is refused by those who need it, with their own exit codes.
        if required:
            raise ConfigError(f"{path}: no such file; name an agent.toml that exists with --config") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; make it readable to this user") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}; mend that line") from None
    found = {}
    for key, value in raw.items():
        if key == _JOINED_CONFIG and path.name == JOINED_FILE_NAME:
            found[key] = values.path(value)
        else:
            found[key] = _checked(key, value, f"{path}: {key}")
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name in _NAMES:
        raw = environ.get(PREFIX + name.upper())
        if raw:
            found[name] = _checked(name, raw, PREFIX + name.upper())
    return found


_NAMES = tuple(f.name for f in fields(Settings))


def _checked(name: str, value: Any, where: str) -> Any:
    """``value`` as ``Settings`` wants it, whether it came as text or from TOML."""
    if name not in _NAMES:
        import difflib

        near = difflib.get_close_matches(name, _NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_NAMES)}"
        raise ConfigError(f"{where}: no such setting{hint}")
    try:
        return _READERS.get(name, values.text)(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


_READERS: dict[str, Any] = {
    "state_dir": values.path,
    "work_dir": values.path,
    "price": values.price,
    "cpus": values.count,
    "labels": values.labels,
    "master_port_range": values.port_range,
    "peer_listen": values.listen_address,
    "spot": values.truth,
    "ephemeral": values.truth,
    "cgroups": values.truth,
    "coordinator": values.coordinators,
    "log_keep": values.size,
    "log_keep_all": values.size,
    "log_rate": values.size,
    "disk_reserve": values.size,
    "archive_keep": values.size,
    "allow_users": values.users,
    "cpu_limit": values.cpu_limit,
    "task_pids": values.pids,
    "leave_within": notices.seconds,
    "interruption_every": notices.seconds,
    "interruption_url": notices.url,
    "interruption_token_url": notices.url,
    "interruption_header": notices.header,
    "containers": values.runtime,
    "allow_privileged": values.truth,
    "image_keep": values.images,
}
