"""What most commands share: ``--context``, ``--json``, the connection, JSON documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from coordinator.client import Client

F = TypeVar("F", bound=Callable[..., Any])

JSON_VERSION = 1
"""Of every ``--json`` document; raised when a field changes its meaning or goes, not when one is added."""


def client_options(function: F) -> F:
    """Adds ``--context`` and ``--json`` to a command."""
    function = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(function)
    return click.option("--context", metavar="FILE", help="Context file. [RALLYPOINT_CONTEXT]")(function)


def connect(context: str | None) -> Client:
    """The client for the context that was named, here or before the command, or that is found."""
    from coordinator.client import Client

    return Client.from_context(context or click.get_current_context().find_root().obj)


def document(**parts: Message | list[Message] | object) -> str:
    """A JSON document; messages are written with all their fields, under the names of the protocol."""
    from coordinator.cli.shape import plain

    return json.dumps({"version": JSON_VERSION, **{name: plain(part) for name, part in parts.items()}}, indent=2)


def say(text: str) -> None:
    """A line about what happens, on standard error."""
    click.echo(text, err=True)
