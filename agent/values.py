"""How the agent's settings read: each from text, as flags and variables give it, or from what TOML gives.

Each reader raises ValueError or TypeError, which says what is wrong with the value and what it should be.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


def text(value: Any) -> str:
    """Words."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text; put it in quotes")
    return value


def price(value: Any) -> float:
    """USD an hour."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a price; give USD an hour, like 2.5") from None
    if not 0 <= found < 1e6:
        raise ValueError(f"{value!r} is not a price; give USD an hour, like 2.5")
    return found


def truth(value: Any) -> bool:
    """Yes or no."""
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError(f"{value!r} is neither true nor false")
    return known[str(value).lower()]


def runtime(value: Any) -> str:
    """What runs containers."""
    if value not in ("auto", "podman", "docker", "off"):
        raise ValueError(f"{value!r} runs no containers; write auto, podman, docker or off")
    return str(value)


def images(value: Any) -> int:
    """How many images stay."""
    if not str(value).isdigit():
        raise ValueError(f"{value!r} is not a number of images; give a whole number from 0 on")
    return int(value)


def count(value: Any) -> int:
    """How many CPUs."""
    try:
        found = int(value)
    except (TypeError, ValueError):
        found = 0
    if found < 1:
        raise ValueError(f"{value!r} is not a number of CPUs; give a whole number from 1 on")
    return found


_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) *(MB|GB|TB)", re.IGNORECASE)
_UNITS = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def size(value: Any) -> int:
    """Bytes, at least 1 MB."""
    if isinstance(value, int) and value >= 1 << 20:
        return value  # As what was given at join is kept.
    match = _SIZE.fullmatch(str(value).strip())
    size = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1 << 20:
        raise ValueError(f"{value!r} is not a size of 1MB or more; write a number and MB, GB or TB, like 256MB")
    return size


def labels(value: Any) -> dict[str, str]:
    """Labels, as a table, a list or one text of ``KEY=VALUE``."""
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


def port_range(value: Any) -> tuple[int, int]:
    """The first and the last port."""
    if isinstance(value, str):
        value = value.split("-")
    try:
        low, high = (int(part) for part in value)
    except (TypeError, ValueError):
        low, high = 0, 0
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"{value!r} is not a range of ports; write LOW-HIGH, like 20000-29999")
    return low, high


def listen_address(value: Any) -> str:
    """An address to listen on, as it was written."""
    split_address(text(value))
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


def cpu_limit(value: Any) -> str:
    """How CPUs are limited."""
    if value not in ("weight", "hard", "off"):
        raise ValueError(f"{value!r} is not a way to limit CPUs; write weight, hard or off")
    return str(value)


def pids(value: Any) -> int:
    """Processes and threads of a node."""
    if not str(value).isdigit() or int(value) < 16:
        raise ValueError(f"{value!r} is not a number of processes; give a whole number from 16 on")
    return int(value)


def users(value: Any) -> tuple[str, ...]:
    """Names of users, as a list or one text."""
    parts = value.split(",") if isinstance(value, str) else [text(each) for each in value]
    return tuple(part.strip() for part in parts if part.strip())


def coordinators(value: Any) -> tuple[str, ...]:
    """Addresses of a coordinator, as a list or one text."""
    from rallypoint.address import parse_address

    if isinstance(value, str):
        value = [value]
    found = tuple(part.strip() for each in value for part in text(each).split(",") if part.strip())
    if any(parse_address(address).port == 0 for address in found):
        raise ValueError(f"{', '.join(found)!r} has port 0, which nobody answers at; write HOST:PORT")
    return found


def path(value: Any) -> Path:
    """A path, made absolute."""
    return Path(os.path.expanduser(text(str(value)))).absolute()
