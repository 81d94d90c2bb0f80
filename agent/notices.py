"""Settings of what has a host go: notices of its provider, and how long it may take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agent.values import text


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: ``url``, with ``header`` ("Name: value", or empty), every so many seconds.

    ``when`` says which answer with status 200 is a notice: empty, any; ``=TEXT``, one that is just that; or
    ``PATH=VALUE|VALUE``, JSON that has one of these values at PATH (names with dots between, ``*`` for any of a list).
    ``token_url``: a token is got there first (PUT), and shown, as AWS wants it.
    """

    url: str
    every: float = 5.0
    header: str = ""
    when: str = ""
    token_url: str = ""


def seconds(value: Any) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h)?", str(value).strip())
    found = float(match[1]) * {"ms": 0.001, "m": 60.0, "h": 3600.0}.get(match[2], 1.0) if match else 0.0
    if not 0.1 <= found <= 86400.0:
        raise ValueError(f"{value!r} is not a time of 0.1 s to a day; write a number and s, m or h, like 25s")
    return found


def url(value: Any) -> str:
    parts = urlsplit(text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"{value!r} is not an address to ask at; write http://HOST/PATH, without a user")
    return str(value)


def header(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+: *[\x20-\x7e]*", text(value)):
        raise ValueError(f"{value!r} is not a header; write 'Name: value'")
    return str(value)
