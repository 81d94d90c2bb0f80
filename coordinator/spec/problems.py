"""What can be wrong with a task: problems, each with its place, all reported at once."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


ValuePath = tuple[str | int, ...]
"""Where a value stands in a task file: the names of fields and the places in lists that lead to it."""


class Wrong(ValueError):
    """A value that can't be used; the message says what, why and the way out, without the place."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error; ``str()`` is the line that users see."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class SpecError(Exception):
    """The task can't be submitted as it is written; ``str()`` has one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None
