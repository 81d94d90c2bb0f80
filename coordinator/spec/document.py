"""YAML with places: every scalar is kept as the text that stands in the file, and every value knows its line.

YAML's own guesses about types (``yes``, ``1:30``, ``1e3``, ``012``) never apply: each field reads its own text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from coordinator.spec.problems import Problem, SpecError, ValuePath, Wrong

MAX_FILE_BYTES = 1024 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 20

_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "timestamp", "value"))
_NULL_TAG = "tag:yaml.org,2002:null"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Document:
    """Data (mappings, lists, texts and None) and where each value was written."""

    data: dict[str, object]
    places: dict[ValuePath, str]

    def place(self, path: ValuePath) -> str:
        """Where the value at ``path`` was written, or the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_document(file: Path) -> Document:
    """Read a task file. Raises ``SpecError``."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise _failed(str(file), "the file is larger than 1 MB; a task file is short text; is it the right file?")
        content = file.read_bytes()
    except FileNotFoundError:
        raise _failed(str(file), "no such file; check the path") from None
    except OSError as error:
        raise _failed(
            str(file), f"the file can't be read: {error.strerror}; check the path and its permissions"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _failed(f"{file}:{line}", "not text in UTF-8; a task file is YAML; is it the right file?") from None
    return parse_document(text, str(file))


def parse_document(text: str, name: str) -> Document:
    """Read YAML that was written in ``name``. Raises ``SpecError``."""
    root = _compose(text, name)
    if root is None:
        raise _failed(name, "the file is empty; a task needs at least 'type: task' and 'commands'")
    reader = _Reader(name)
    data = reader.value(root, ())
    if reader.problems:
        raise SpecError(reader.problems)
    if not isinstance(data, dict):
        raise _failed(f"{name}:{_line(root)}", "the file is not a mapping; write fields as 'type: task', one a line")
    return Document(data, {(): f"{name}:{_line(root)}", **reader.places})


def _compose(text: str, name: str) -> Node | None:
    compose: Callable[[str], Node | None] = YAML(typ="safe", pure=True).compose
    try:
        return compose(text)
    except MarkedYAMLError as error:
        # What was never closed is better named by where it was opened.
        unclosed = re.search("stream end|end of stream", str(error.problem)) is not None
        mark = error.context_mark if unclosed and error.context_mark else error.problem_mark or error.context_mark
        raise _failed(f"{name}:{mark.line + 1 if mark else 1}", _explain(error)) from None
    except RecursionError:
        raise _failed(
            name, f"values are nested more than {MAX_DEPTH} deep; a task needs far less; flatten it"
        ) from None
    except YAMLError as error:
        at = getattr(error, "position", 0)
        line = text.count("\n", 0, at if isinstance(at, int) else 0) + 1
        raise _failed(f"{name}:{line}", "a character that YAML does not allow; is it the right file?") from None


def _explain(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "")
    if "'\\t'" in problem:
        return "a tab is used for indentation; YAML allows only spaces; replace the tab"
    if "another document" in problem:
        return "a second document begins with '---'; a file holds one task; put the other into its own file"
    if "mapping values" in problem:
        return "not valid YAML: a ':' where no field can be; quote text that holds ': ', or check indentation"
    if "undefined alias" in problem:
        return f"not valid YAML: {problem}; text that begins with * needs quotes"
    if "that cannot start" in problem:
        return f"not valid YAML: {problem.removeprefix('found ')}; put the text in quotes"
    context = f" {error.context}" if error.context else ""
    return f"not valid YAML{context}: {problem or 'unreadable'}; check quotes, brackets and indentation near this line"


def _failed(place: str, text: str) -> SpecError:
    return SpecError([Problem(place, text)])


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


@dataclass(slots=True)
class _Reader:
    """Turns YAML nodes into data, noting places and problems; aliases are counted as often as they are used."""

    name: str
    places: dict[ValuePath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def value(self, node: Node, path: ValuePath, depth: int = 0) -> object:
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            what = f"nested more than {MAX_DEPTH} deep" if depth > MAX_DEPTH else f"more than {MAX_VALUES}"
            raise _failed(
                self._at(node), f"values are {what}, aliases counted; a task needs far less; write it out plainly"
            )
        self.places.setdefault(path, self._at(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: Node) -> str | None:
        tag = str(node.tag)
        if tag == _NULL_TAG:
            return None
        if tag not in _PLAIN_TAGS:
            self.problems.append(
                Problem(self._at(node), f"tag {tag!r} is not supported; values are plain YAML; remove it")
            )
        return str(node.value)

    def _mapping(self, node: MappingNode, path: ValuePath, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == _MERGE_TAG:
                merged = {**self._merge(value_node, path, depth), **merged}
                continue
            try:
                key = self._key(key_node, first_lines)
            except Wrong as wrong:
                self.problems.append(Problem(self._at(key_node), str(wrong)))
                continue
            self.places[*path, key] = self._at(key_node)
            found[key] = self.value(value_node, (*path, key), depth + 1)
        return {**merged, **found}

    def _merge(self, node: Node, path: ValuePath, depth: int) -> dict[str, object]:
        merged: dict[str, object] = {}
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode):
                self.problems.append(
                    Problem(self._at(node), "'<<' takes a mapping; write '<<: *name' of an anchored mapping")
                )
                continue
            merged = {**self._mapping(source, path, depth + 1), **merged}
        return merged

    def _key(self, node: Node, first_lines: dict[str, int]) -> str:
        if not isinstance(node, ScalarNode):
            raise Wrong("a field's name must be plain text; write NAME: VALUE")
        key = str(node.value)
        if key in first_lines:
            raise Wrong(f"field {key!r} is given twice, first in line {first_lines[key]}; keep one of them")
        first_lines[key] = _line(node)
        return key

    def _at(self, node: Node) -> str:
        return f"{self.name}:{_line(node)}"
