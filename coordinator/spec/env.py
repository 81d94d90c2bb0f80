"""The ``env`` of a task: a list of ``K=V`` and ``K``, or a mapping; a bare name takes the caller's value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from coordinator.spec.document import Document
from coordinator.spec.model import plain_text
from coordinator.spec.problems import Problem, Wrong
from coordinator.spec.rules import check_env_key

Entry = tuple[str, str | None]


def read_env(
    document: Document, options: tuple[str, ...], environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, str]:
    """The file's variables, overridden by ``--env`` options; what is wrong is added to ``problems``."""
    found: dict[str, str] = {}
    for place, item in _file_items(document, problems):
        _take(found, place, item, environ, problems, once=True)
    from_options: dict[str, str] = {}
    for option in options:
        _take(from_options, "--env", option, environ, problems, once=False)
    return {**found, **from_options}


def _file_items(document: Document, problems: list[Problem]) -> Iterator[tuple[str, object]]:
    env = document.data.get("env")
    if isinstance(env, list):
        for index, item in enumerate(env):
            yield document.place(("env", index)), item
    elif isinstance(env, dict):
        for key, value in env.items():
            yield document.place(("env", key)), (key, value)
    elif env is not None:
        text = "env must be a list or a mapping; write '- KEY=VALUE' or 'KEY: VALUE', one a line"
        problems.append(Problem(document.place(("env",)), text))


def _take(
    found: dict[str, str], place: str, item: object, environ: Mapping[str, str], problems: list[Problem], *, once: bool
) -> None:
    try:
        key, value = _entry(item)
        if once and key in found:
            raise Wrong(f"env {key} is given twice; keep one of them")
        found[key] = _from_caller(key, environ) if value is None else value
    except Wrong as wrong:
        problems.append(Problem(place, str(wrong)))


def _entry(item: object) -> Entry:
    if isinstance(item, tuple):
        key, value = item
        if value is None:
            raise Wrong(f"env {key} has no value; write {key}: '' for an empty one, or '- {key}' in a list for yours")
        return check_env_key(key), plain_text(f"env {key}", value)
    if not isinstance(item, str):
        raise Wrong("env has an item that is not text; in a list write '- KEY=VALUE', quoted if it holds ': '")
    key, equals, value = item.partition("=")
    return check_env_key(key), plain_text(f"env {key}", value) if equals else None


def _from_caller(key: str, environ: Mapping[str, str]) -> str:
    if key not in environ:
        raise Wrong(f"env {key} has no value here and is not set in your environment; export it, or write {key}=VALUE")
    return environ[key]
