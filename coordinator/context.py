"""How a user's commands find and trust the coordinator: a context file. Light on purpose; every command reads one.

Looked for in this order: ``--context``, ``RALLYPOINT_CONTEXT``, the user's configuration directory, and ``admin.toml``
in the data directory of a coordinator that this user runs here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rallypoint.address import BadAddress, parse_address
from rallypoint.files import readable_by_others

ADMIN_FILE = "admin.toml"
VARIABLE = "RALLYPOINT_CONTEXT"
COORDINATOR_VARIABLE = "RALLYPOINT_COORDINATOR"


class ContextError(Exception):
    """No usable context file."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where the coordinator answers (``HOST:PORT``), its CA, the user's token; one of ``others`` may lead instead."""

    address: str
    cluster_id: str
    ca_pem: bytes
    token: str = field(repr=False)
    others: tuple[str, ...] = ()


def default_data_dir() -> Path:
    """Where a coordinator keeps its data unless told otherwise."""
    from platformdirs import user_state_path

    return user_state_path("rallypoint", appauthor=False) / "coordinator"


def user_context_path() -> Path:
    """The context file of this user, who need not run a coordinator here."""
    from platformdirs import user_config_path

    return user_config_path("rallypoint", appauthor=False) / "context.toml"


def find_context(option: str | None, environ: Mapping[str, str] | None = None) -> Path:
    """The context file to use; ``option`` is what ``--context`` gave. Raises ``ContextError`` when there is none."""
    named = option or (os.environ if environ is None else environ).get(VARIABLE)
    if named:
        return Path(named).expanduser()
    places = [user_context_path(), default_data_dir() / ADMIN_FILE]
    for path in places:
        if path.exists():
            return path
    way_out = f"start one with 'coordinator serve', or name a context file with --context or {VARIABLE}"
    raise ContextError(f"no coordinator is known here (looked for {places[0]} and {places[1]}): {way_out}")


def load_context(path: Path) -> Context:
    """Read a context file. Raises ``ContextError``."""
    try:
        if readable_by_others(path):
            raise ContextError(f"context file {path} may be read by other users: run 'chmod 600 {path}'")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        way_out = f"give the right one with --context or {VARIABLE}"
        raise ContextError(f"context file {path} can't be read ({error.strerror}): {way_out}") from None
    except ValueError as error:
        raise ContextError(f"context file {path} is not valid TOML ({error}): copy it again") from None
    return _from_toml(path, values)


def redirected(context: Context, environ: Mapping[str, str] | None = None) -> Context:
    """The context, at the addresses of ``RALLYPOINT_COORDINATOR`` (with commas) if that is set. Raises ContextError."""
    text = (os.environ if environ is None else environ).get(COORDINATOR_VARIABLE, "")
    addresses = [part.strip() for part in text.split(",") if part.strip()]
    if not addresses:
        return context
    try:
        for address in addresses:
            parse_address(address)
    except BadAddress as error:
        raise ContextError(f"{COORDINATOR_VARIABLE}: {error}") from None
    return replace(context, address=addresses[0], others=tuple(addresses[1:]))


def _from_toml(path: Path, values: Mapping[str, object]) -> Context:
    def text(key: str) -> str:
        value = values.get(key)
        if not isinstance(value, str) or not value:
            raise ContextError(f"context file {path} has no '{key}': copy it again from the coordinator")
        return value

    others = values.get("others", [])
    if not isinstance(others, list) or not all(isinstance(address, str) for address in others):
        raise ContextError(f"context file {path}: 'others' must be a list of HOST:PORT: copy it again")
    try:
        for address in (text("address"), *others):
            parse_address(address)
    except BadAddress as error:
        raise ContextError(f"context file {path}: {error}") from None
    return Context(text("address"), text("cluster_id"), text("ca_pem").encode(), text("token"), tuple(others))
