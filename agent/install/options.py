"""The options of `agent join` as the installer knows them: checked before anything is fetched, and stated anew."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from agent.config import FILE_NAME, ConfigError, checked_flags, own_settings, restate
from agent.identity import Identity
from agent.install.errors import CannotInstall, because

# What `agent join` itself reads with click, which is not there yet; a test compares the two.
VALUED = (
    *("name", "config", "peer-listen", "backend", "region", "instance-type", "fleet", "network", "price", "cpus"),
    *("master-port-range", "cpu-limit", "task-pids", "task-user", "allow-users", "work-dir", "log-keep"),
    *("log-keep-all", "log-rate", "disk-reserve", "archive-keep", "containers", "image-keep"),
)
SWITCHES = ("spot", "ephemeral", "cgroups", "allow-privileged", "force")
_REPEATED = "label"


class Parser(argparse.ArgumentParser):
    """One that says in a line what is wrong, and ends with code 2."""

    def error(self, message: str) -> NoReturn:
        """Say it."""
        self.exit(2, f"rallypoint: {message}: --help lists the options (nothing was installed)\n")


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """``words`` as they were given; ``facts`` are those that are kept for `agent run`, by the names of settings."""

    words: tuple[str, ...] = ()
    name: str = ""
    force: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def join_options(words: Sequence[str], parser: Parser, known: Sequence[str]) -> JoinOptions:
    """Read them; wrong ones end the program, by ``parser``, whose own options are ``known``."""
    reader = Parser(add_help=False, allow_abbrev=False)
    for name in VALUED:
        reader.add_argument(f"--{name}")
    for name in SWITCHES:
        kind = argparse.BooleanOptionalAction if name == "cgroups" else "store_true"
        reader.add_argument(f"--{name}", action=kind, default=None)
    reader.add_argument(f"--{_REPEATED}", action="append", dest="labels")
    given, rest = reader.parse_known_args(words)
    if rest:
        option = rest[0].partition("=")[0]
        near = difflib.get_close_matches(option, [*known, *reader._option_string_actions], 1)
        parser.error(f"there is no option {option!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    stated = {key: value for key, value in vars(given).items() if value not in (None, "")}
    name, force = str(stated.pop("name", "")), bool(stated.pop("force", False))
    config = stated.pop("config", None)
    try:
        facts = checked_flags(stated)
    except ConfigError as error:
        parser.error(str(error))
    if config is not None:
        facts["config"] = Path(config).expanduser().absolute()
    return JoinOptions(tuple(words), name, force, facts)


def apply(options: JoinOptions, identity: Identity) -> bool:
    """Have what is stated of a host that has joined hold from its agent's next start; whether anything is new.

    Raises ``CannotInstall``.
    """
    if options.name not in ("", identity.host_name):
        print(f"the host's name stays {identity.host_name}: only joining anew, with --force, gives it another")
    if not options.facts:
        return False
    try:
        covered = sorted(own_settings(identity.state_dir) & options.facts.keys() - {"labels"})
        changed = restate(identity.state_dir, options.facts)
    except ConfigError as error:
        raise CannotInstall(str(error)) from None
    except OSError as error:
        raise CannotInstall(f"what was stated can't be kept: {because(error)}") from None
    if changed:
        print(f"stated anew of host {identity.host_name}: {', '.join(changed)}")
    if covered:
        print(f"{identity.state_dir / FILE_NAME} sets these too, and it is that which counts: {', '.join(covered)}")
    return bool(changed)
