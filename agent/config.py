"""The agent's settings: flags, then ``RALLYPOINT_AGENT_*``, then ``agent.toml``, then defaults.

The file is ``agent.toml`` in the state directory unless another is named; its keys are the names of the flags with
underscores. ``[labels]`` is a table there and ``k=v,k=v`` in the environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rallypoint.files import write_private

from agent import installation, notices
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
        return split_address(self.peer_listen)


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
    values: dict[str, Any] = {}
    joined = _from_file(state_dir / JOINED_FILE_NAME, required=False)
    joined_file = joined.pop(_JOINED_CONFIG, None)
    file = file or joined_file
    _merge(values, joined)
    _merge(values, _from_file(file or state_dir / FILE_NAME, required=file is not None))
    _merge(values, _from_environment(environ))
    _merge(values, checked_flags(given))
    values["state_dir"] = state_dir.absolute()
    return Settings(**values)


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


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    labels = {**values.get("labels", {}), **more.get("labels", {})}
    values.update(more)
    if labels:
        values["labels"] = labels


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
            found[key] = _path(value)
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
        return _CONVERT.get(name, _text)(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text; put it in quotes")
    return value


def _price(value: Any) -> float:
    try:
        price = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a price; give USD an hour, like 2.5") from None
    if not 0 <= price < 1e6:
        raise ValueError(f"{value!r} is not a price; give USD an hour, like 2.5")
    return price


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[str(value).lower()]


def _runtime(value: Any) -> str:
    if value not in ("auto", "podman", "docker", "off"):
        raise ValueError(f"{value!r} runs no containers; write auto, podman, docker or off")
    return str(value)


def _images(value: Any) -> int:
    if not str(value).isdigit():
        raise ValueError(f"{value!r} is not a number of images; give a whole number from 0 on")
    return int(value)


def _count(value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise ValueError(f"{value!r} is not a number of CPUs; give a whole number from 1 on")
    return count


_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) *(MB|GB|TB)", re.IGNORECASE)
_UNITS = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def _size(value: Any) -> int:
    if isinstance(value, int) and value >= 1 << 20:
        return value  # As what was given at join is kept.
    match = _SIZE.fullmatch(str(value).strip())
    size = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1 << 20:
        raise ValueError(f"{value!r} is not a size of 1MB or more; write a number and MB, GB or TB, like 256MB")
    return size


def _labels(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        pairs = [str(part).partition("=") for part in value]
        if any(not sign or not key.strip() for key, sign, _ in pairs):
            raise ValueError(f"{value!r} are no labels; write KEY=VALUE")
        return {key.strip(): text.strip() for key, _, text in pairs}
    if isinstance(value, dict):
        return {str(key): str(text) for key, text in value.items()}
    raise ValueError(f"{value!r} are no labels; write KEY=VALUE")


def _port_range(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        value = value.split("-")
    try:
        low, high = (int(part) for part in value)
    except (TypeError, ValueError):
        low, high = 0, 0
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"{value!r} is not a range of ports; write LOW-HIGH, like 20000-29999")
    return low, high


def _listen(value: Any) -> str:
    split_address(_text(value))
    return str(value)


def split_address(value: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[V6]:PORT`` or ``:PORT`` (all addresses).

    Raises:
        ValueError: it is none of these.
    """
    host, sign, port = value.rpartition(":")
    if not sign or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r} is not an address to listen on; write HOST:PORT, port 0 for any free one")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the host out


def _cpu_limit(value: Any) -> str:
    if value not in ("weight", "hard", "off"):
        raise ValueError(f"{value!r} is not a way to limit CPUs; write weight, hard or off")
    return str(value)


def _pids(value: Any) -> int:
    if not str(value).isdigit() or int(value) < 16:
        raise ValueError(f"{value!r} is not a number of processes; give a whole number from 16 on")
    return int(value)


def _users(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else [_text(each) for each in value]
    return tuple(part.strip() for part in parts if part.strip())


def _coordinators(value: Any) -> tuple[str, ...]:
    from rallypoint.address import parse_address

    if isinstance(value, str):
        value = [value]
    found = tuple(part.strip() for each in value for part in _text(each).split(",") if part.strip())
    if any(parse_address(address).port == 0 for address in found):
        raise ValueError(f"{', '.join(found)!r} has port 0, which nobody answers at; write HOST:PORT")
    return found


def _path(value: Any) -> Path:
    return Path(os.path.expanduser(_text(str(value)))).absolute()


_CONVERT: dict[str, Any] = {
    "state_dir": _path,
    "work_dir": _path,
    "price": _price,
    "cpus": _count,
    "labels": _labels,
    "master_port_range": _port_range,
    "peer_listen": _listen,
    "spot": _truth,
    "ephemeral": _truth,
    "cgroups": _truth,
    "coordinator": _coordinators,
    "log_keep": _size,
    "log_keep_all": _size,
    "log_rate": _size,
    "disk_reserve": _size,
    "archive_keep": _size,
    "allow_users": _users,
    "cpu_limit": _cpu_limit,
    "task_pids": _pids,
    "leave_within": notices.seconds,
    "interruption_every": notices.seconds,
    "interruption_url": notices.url,
    "interruption_token_url": notices.url,
    "interruption_header": notices.header,
    "containers": _runtime,
    "allow_privileged": _truth,
    "image_keep": _images,
}
