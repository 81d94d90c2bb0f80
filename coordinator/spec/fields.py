"""What the fields of a task file have in common: mappings with known fields only, and values that come in as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from coordinator.core.interpolation import Unknown, references
from coordinator.spec.problems import Wrong, nearest
from coordinator.spec.references import unknown_reference
from coordinator.spec.resources import parse_count
from coordinator.spec.rules import check_text

E = TypeVar("E", bound=Enum)

_USD = re.compile(r"\$? ?(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?) ?(?:USD|\$)?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Fields(BaseModel):
    """A mapping with known fields only; a field without a value counts as not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def text_of(value: object) -> str:
    """One text. Raises ``Wrong``."""
    if not isinstance(value, str):
        raise Wrong("this must be one text; write it on one line, or as a block after '|'")
    return value


def plain_text(what: str, value: object) -> str:
    """Text that is passed on as it is, without references. Raises ``Wrong``."""
    text = check_text(what, text_of(value))
    if references(text):
        raise Wrong(
            f"{what} uses '${{{{ … }}}}', which is filled in only in commands and env; use it there, or use a variable"
        )
    return text


def program_text(what: str, value: object) -> str:
    """Text of a command or variable; references may stand in it, but only known ones. Raises ``Wrong``."""
    text = check_text(what, text_of(value))
    for reference in references(text):
        if isinstance(reference, Unknown):
            raise Wrong(f"{what} uses {unknown_reference(reference)}")
    return text


def choice(what: str, members: type[E]) -> Callable[[object], E]:
    """Reads one of the words of an enumeration."""
    choices = {str(each.value): each for each in members}

    def read(value: object) -> E:
        text = text_of(value)
        if text not in choices:
            guess = nearest(text, choices)
            meant = f"did you mean {guess!r}?" if guess else f"write one of {', '.join(choices)}"
            raise Wrong(f"{what} {text!r} is not known; it is {' or '.join(choices)}; {meant}")
        return choices[text]

    return read


def count(what: str, least: int, most: int) -> Callable[[object], int]:
    """Reads a whole number between two others."""

    def read(value: object) -> int:
        number = parse_count(text_of(value))
        if not least <= number <= most:
            raise Wrong(f"{what} {number} can't be had; it goes from {least} to {most}; choose a number in between")
        return number

    return read


def flag(what: str) -> Callable[[object], bool]:
    """Reads true or false."""

    def read(value: object) -> bool:
        found = _FLAGS.get(text_of(value).lower())
        if found is None:
            raise Wrong(f"{what} {value!r} is neither true nor false; write one of them")
        return found

    return read


def names(what: str) -> Callable[[object], tuple[str, ...]]:
    """Reads a list of names, or one name."""

    def read(value: object) -> tuple[str, ...]:
        items = value if isinstance(value, list) else [value]
        found = tuple(plain_text(what, item).strip() for item in items)
        if not found or not all(found):
            raise Wrong(f"{what} is empty; name one, or leave the field out")
        return found

    return read


def listed(what: str) -> Callable[[object], list[object]]:
    """Takes a list whose items are read one by one."""

    def read(value: object) -> list[object]:
        if not isinstance(value, list) or not value:
            raise Wrong(f"{what} must be a list of mappings; write each after '- '")
        return value

    return read


def usd(what: str, most: float, *, positive: bool) -> Callable[[object], float]:
    """Reads an amount of money: ``50``, ``2.5 USD``, ``$3``."""

    def read(value: object) -> float:
        text = text_of(value)
        match = _USD.fullmatch(text.strip())
        if match is None:
            raise Wrong(f"{what} {text!r} is not an amount of money; it is in US dollars; write for example 2.50 USD")
        amount = float(match["number"])
        if amount > most or (positive and amount == 0):
            least = "more than 0" if positive else "0 or more"
            raise Wrong(f"{what} {text!r} can't be used; it must be {least} and at most {most:.0f} USD; choose another")
        return amount

    return read


def number(what: str, most: float, example: str) -> Callable[[object], float]:
    """Reads a number above 0."""

    def read(value: object) -> float:
        text = text_of(value).strip()
        if not _NUMBER.fullmatch(text) or not 0 < float(text) <= most:
            raise Wrong(f"{what} {text!r} can't be used; it is above 0, up to {most:.0f}; write for example {example}")
        return float(text)

    return read
