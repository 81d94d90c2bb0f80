"""The ``env`` of a task and of its parts: a list of ``K=V`` and ``K``, or a mapping; a bare name takes the caller's
value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from coordinator.spec.document import Document
from coordinator.spec.fields import program_text
from coordinator.spec.problems import Problem, ValuePath, Wrong
from coordinator.spec.rules import check_env_key

Entry = tuple[str, str | None]

_PARTS = ("variants", "groups")


@dataclass(slots=True)
class Environments:
    """Variables by the path of their part, and where each was written."""

    environ: Mapping[str, str]
    problems: list[Problem]
    values: dict[ValuePath, dict[str, str]] = field(default_factory=dict)
    places: dict[ValuePath, str] = field(default_factory=dict)

    def take(self, part: ValuePath, place: str, item: object, *, once: bool) -> None:
        """Note one variable of a part, or what is wrong with it."""
        found = self.values.setdefault(part, {})
        try:
            key, value = _entry(item)
            if once and key in found:
                raise Wrong(f"env {key} is given twice; keep one of them")
            found[key] = self._from_caller(key) if value is None else value
            self.places[*part, "env", key] = place
        except Wrong as wrong:
            self.problems.append(Problem(place, str(wrong)))

    def _from_caller(self, key: str) -> str:
        if key not in self.environ:
            raise Wrong(
                f"env {key} has no value here and is not set in your environment; export it, or write {key}=VALUE"
            )
        # What the caller has is passed on as it is: nothing in it is a reference.
        return self.environ[key].replace("${{", "$${{")


def read_env(
    document: Document, options: tuple[str, ...], environ: Mapping[str, str], problems: list[Problem]
) -> Environments:
    """The file's variables, overridden by ``--env`` options; what is wrong is added to ``problems``."""
    found = Environments(environ, problems)
    for path, env in _all(document.data):
        for place, item in _items(document, (*path, "env"), env, problems):
            found.take(path, place, item, once=True)
    for option in options:
        found.take((), "--env", option, once=False)
    return found


def _all(data: Mapping[str, object]) -> Iterator[tuple[ValuePath, object]]:
    yield (), data.get("env")
    for name in _PARTS:
        parts = data.get(name)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                yield (name, index), part.get("env")


def _items(document: Document, path: ValuePath, env: object, problems: list[Problem]) -> Iterator[tuple[str, object]]:
    if isinstance(env, list):
        for index, item in enumerate(env):
            yield document.place((*path, index)), item
    elif isinstance(env, dict):
        for key, value in env.items():
            yield document.place((*path, key)), (key, value)
    elif env is not None:
        text = "env must be a list or a mapping; write '- KEY=VALUE' or 'KEY: VALUE', one a line"
        problems.append(Problem(document.place(path), text))


def _entry(item: object) -> Entry:
    if isinstance(item, tuple):
        key, value = item
        if value is None:
            raise Wrong(f"env {key} has no value; write {key}: '' for an empty one, or '- {key}' in a list for yours")
        return check_env_key(key), program_text(f"env {key}", value)
    if not isinstance(item, str):
        raise Wrong("env has an item that is not text; in a list write '- KEY=VALUE', quoted if it holds ': '")
    key, equals, value = item.partition("=")
    return check_env_key(key), program_text(f"env {key}", value) if equals else None
