"""What a coordinator can be told: by flag, environment or TOML file, in this order; every error names the source."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from rallypoint.address import Address, parse_address
from rallypoint.files import readable_by_others

from coordinator.context import default_data_dir
from coordinator.core.state import Timing
from coordinator.spec.durations import parse_duration
from coordinator.spec.problems import nearest
from coordinator.spec.resources import parse_size

FILE_NAME = "coordinator.toml"
"""Looked for in the data directory unless ``--config`` names another file."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A setting can't be used; the text names where it was given, why, and the way out."""


class Origin(NamedTuple):
    """Where a setting was ``given`` (empty: nowhere), and by which ``way`` to give another."""

    given: str
    way: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings; addresses are ``HOST:PORT``, durations seconds, sizes bytes.

    ``http=None`` means no web page, ``install_listen=None`` no installer; ``advertise_agent_port=None`` the port that
    is bound; ``database_url=None`` SQLite in the data directory. ``origins`` has who chose the addresses.
    """

    data_dir: Path
    listen: str
    agent_listen: str
    http: str | None
    install_listen: str | None
    advertise: tuple[str, ...]
    advertise_agent_port: int | None
    database_url: str | None
    timing: Timing
    certificate_life: float
    log_limit: int
    archive_keep: int
    log_level: str
    origins: Mapping[str, Origin]


class _Value(NamedTuple):
    source: str
    text: str


Values = dict[str, _Value]
_DEFAULT = "default"

DEFAULTS: dict[str, str] = {
    "data_dir": "",
    "listen": "0.0.0.0:7443",
    "agent_listen": "",
    "http": "127.0.0.1:7480",
    "install_listen": "",
    "advertise": "",
    "advertise_agent_port": "",
    "database_url": "",
    "heartbeat": "5s",
    "suspect": "15s",
    "lease": "30s",
    "grace": "5s",
    "margin": "1s",
    "prepare": "2m",
    "probe_interval": "2m",
    "certificate_life": "7d",
    "log_limit": "256MB",
    "archive_keep": "16GB",
    "log_level": "info",
}
"""Every setting and its default as one would write it; empty: worked out."""


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """Put flags, environment (``RALLYPOINT_LISTEN``, …), file and defaults together. Raises ``SettingsError``."""
    given = _from_environment(environ)
    given |= {name: _Value(_flag(name), text) for name, text in flags.items() if text is not None}
    data_dir = _path(given["data_dir"]) if "data_dir" in given else default_data_dir()
    from_file = _from_file(Path(config).expanduser() if config else data_dir / FILE_NAME, required=config is not None)
    defaults = {name: _Value(_DEFAULT, text) for name, text in DEFAULTS.items()}
    values = {**defaults, **from_file, **given}
    return _check(_Reader(values).settings(data_dir if "data_dir" in given else None))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _from_environment(environ: Mapping[str, str]) -> Values:
    named = {name: f"RALLYPOINT_{name.upper()}" for name in DEFAULTS}
    return {name: _Value(variable, environ[variable]) for name, variable in named.items() if variable in environ}


def _from_file(path: Path, *, required: bool) -> Values:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingsError(f"--config: {path} does not exist; check the path") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}; check its permissions") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}; correct it or take it away") from None
    return {name: _Value(f"{path}: {name}", _file_text(path, name, value)) for name, value in found.items()}


def _file_text(path: Path, name: str, value: object) -> str:
    if name not in DEFAULTS:
        guess = nearest(name, DEFAULTS)
        meant = f"did you mean {guess!r}?" if guess else f"known are {', '.join(DEFAULTS)}"
        raise SettingsError(f"{path}: unknown setting {name!r}; a coordinator has no such setting; {meant}")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingsError(f"{path}: {name} has a value of an unknown form; write it as text in quotes")


def _path(value: _Value) -> Path:
    if not value.text or "\0" in value.text:
        raise SettingsError(f"{value.source}: an empty path can't be used; name a directory")
    return Path(value.text).expanduser()


class _Reader:
    """Reads each setting's text."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def settings(self, data_dir: Path | None) -> Settings:
        listen = self._address("listen")
        in_file = self._values["data_dir"]
        return Settings(
            data_dir=(data_dir or (_path(in_file) if in_file.text else default_data_dir())).absolute(),
            listen=str(listen),
            agent_listen=str(agents := self._agent_listen(listen)),
            http=None if self._values["http"].text.lower() in ("off", "") else str(self._address("http")),
            install_listen=self._install_listen(agents),
            advertise=tuple(name.strip() for name in self._values["advertise"].text.split(",") if name.strip()),
            advertise_agent_port=self._port("advertise_agent_port"),
            database_url=self._database_url(),
            timing=self._timing(),
            certificate_life=self._positive("certificate_life"),
            log_limit=self._size("log_limit", 1 << 20),
            archive_keep=self._size("archive_keep", 1 << 20),
            log_level=self._log_level(),
            origins={name: self._origin(name) for name in ("listen", "agent_listen", "http", "install_listen")},
        )

    def _database_url(self) -> str | None:
        """The URL; a password in it is taken only from where other users can't read it."""
        source, text = self._values["database_url"]
        if not text:
            return None
        if text.partition(":")[0] not in ("postgresql", "postgres"):
            # The URL itself is not repeated: it may hold a password.
            raise SettingsError(f"{source}: not a URL of PostgreSQL; write postgresql://USER@HOST/DATABASE, or none")
        if not _is_readable(text):
            raise SettingsError(
                f"{source}: not a URL that can be read; write postgresql://USER@HOST:PORT/DATABASE, and in a password "
                "'@', '/', ':', '[' and '%' as %40, %2F, %3A, %5B and %25"
            )
        other_ways = "in RALLYPOINT_DATABASE_URL, in coordinator.toml (mode 600), or in ~/.pgpass"
        if source.startswith("--") and _has_password(text):
            raise SettingsError(f"{source}: other users can read a password on the command line; give it {other_ways}")
        file = Path(source.rpartition(": ")[0])
        if file.name and _has_password(text) and file.exists() and readable_by_others(file):
            raise SettingsError(f"{file} holds a password and may be read by other users: run 'chmod 600 {file}'")
        return text

    def _origin(self, name: str) -> Origin:
        source, text = self._values[name]
        if name == "agent_listen" and not text:
            return Origin("for agents, as it follows --listen", "--agent-listen or --listen")
        if source == _DEFAULT:
            return Origin("", _flag(name))
        return Origin(source, source)

    def _timing(self) -> Timing:
        timing = Timing(
            heartbeat=self._positive("heartbeat"),
            suspect=self._positive("suspect"),
            lease=self._positive("lease"),
            lease_grace=self._read("grace", parse_duration),
            lease_margin=self._positive("margin"),
            prepare=self._positive("prepare"),
            probe_interval=self._positive("probe_interval"),
        )
        if not timing.heartbeat < timing.suspect < timing.lease:
            found = [(name, self._values[name]) for name in ("heartbeat", "suspect", "lease")]
            times = ", ".join(f"{name} {value.text} ({value.source})" for name, value in found)
            raise SettingsError(f"heartbeat, suspect and lease must grow in this order, but are {times}; change one")
        return timing

    def _port(self, name: str) -> int | None:
        source, text = self._values[name]
        if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise SettingsError(f"{source}: {text!r} is not a port; write a number from 1 to 65535")
        return int(text) if text else None

    def _read(self, name: str, parse: Callable[[str], float]) -> float:
        source, text = self._values[name]
        try:
            return parse(text)
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None

    def _positive(self, name: str) -> float:
        seconds = self._read(name, parse_duration)
        if seconds <= 0:
            raise SettingsError(f"{self._values[name].source}: must be more than 0; write for example {DEFAULTS[name]}")
        return seconds

    def _size(self, name: str, least: int) -> int:
        source, text = self._values[name]
        try:
            size = parse_size(text)
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None
        if size < least:
            raise SettingsError(f"{source}: {text!r} is too small; write {least >> 20}MB or more")
        return size

    def _address(self, name: str) -> Address:
        source, text = self._values[name]
        try:
            return parse_address(text)
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None

    def _agent_listen(self, listen: Address) -> Address:
        if self._values["agent_listen"].text:
            return self._address("agent_listen")
        if listen.port == 65535:
            raise SettingsError(f"{self._values['listen'].source}: no port after 65535 for agents; give --agent-listen")
        return Address(listen.host, listen.port + 1 if listen.port else 0)

    def _install_listen(self, agents: Address) -> str | None:
        text = self._values["install_listen"].text
        if text:
            return None if text.lower() == "off" else str(self._address("install_listen"))
        if agents.port == 65535:
            return None
        return str(Address(agents.host, agents.port + 1 if agents.port else 0))

    def _log_level(self) -> str:
        source, text = self._values["log_level"]
        if text.lower() not in LOG_LEVELS:
            raise SettingsError(f"{source}: {text!r} is not a log level; known are {', '.join(LOG_LEVELS)}; choose one")
        return text.lower()


def _is_readable(url: str) -> bool:
    """Whether everybody who reads it finds the same password in it: what is taken for a host's name is shown."""
    try:
        parts = urlsplit(url)
        return parts.netloc.count("@") <= 1 and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def _check(settings: Settings) -> Settings:
    given = settings.install_listen if settings.origins["install_listen"].given else None
    addresses = [address for address in (settings.listen, settings.agent_listen, settings.http, given) if address]
    fixed = [address for address in addresses if not address.endswith(":0")]
    if len(set(fixed)) < len(fixed):
        raise SettingsError("listen, agent_listen, http and install_listen need ports of their own; change one of them")
    return settings
