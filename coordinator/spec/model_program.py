"""What a task file runs: ``commands``, and where."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator

from coordinator.spec.fields import plain_text, program_text
from coordinator.spec.problems import Wrong


def _list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise Wrong("commands must be a list; write each command on its own line after '- '")
    if not isinstance(value, list):
        raise Wrong("commands must be a list of texts; put text that holds ': ' in quotes")
    return tuple(value)


def _command(value: object) -> str:
    if isinstance(value, dict):
        raise Wrong("a command is a mapping here; YAML reads 'text: text' as one; put the command in quotes")
    command = program_text("the command", value)
    if not command.strip():
        raise Wrong("a command is empty; remove it")
    return command


Commands = Annotated[tuple[Annotated[str, PlainValidator(_command)], ...], BeforeValidator(_list)]
"""Shell commands, one after the other."""


def parse_working_dir(value: object) -> str:
    """A folder on the host. Raises ``Wrong``."""
    text = plain_text("working_dir", value)
    if text.startswith("~"):
        raise Wrong(f"working_dir {text!r} begins with '~', which is not supported yet; write an absolute path")
    return text
