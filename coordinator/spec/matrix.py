"""The ``matrix`` of a task: its axes, what is left out of their combinations, and what is put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod

from coordinator.core.matrix import Axis, Matrix
from coordinator.core.spec import MAX_NODES
from coordinator.spec.document import Document
from coordinator.spec.fields import text_of
from coordinator.spec.problems import Problem, ValuePath, Wrong, nearest
from coordinator.spec.rules import check_parameter, check_text

Span = tuple[int, int]
"""A half-open range of numbers."""

_RANGE = re.compile(r"(?P<from>-?[0-9]{1,15})\.\.(?P<to>-?[0-9]{1,15})(?:\.\.(?P<step>[0-9]{1,15}))?")
_LIKE_A_RANGE = re.compile(r"[-+0-9.eE]*[0-9]\.\.[-+0-9.eE]+")
_PARTS = ("include", "exclude")
_HOW = "write 'NAME: [VALUE, VALUE]' lines, indented under it"
_MAX_COMBINATIONS = 10**12
_MAX_SPANS = 10_000


def read_matrix(document: Document, problems: list[Problem]) -> Matrix | None:
    """The matrix, or None when there is none; what is wrong is added to ``problems``."""
    given = document.data.get("matrix")
    if given is None:
        return None
    reader, before = _Reader(document, problems), len(problems)
    found = reader.matrix(given)
    return found if len(problems) == before else None


class _Reader:
    """Reads the parts of one matrix, each problem at its place."""

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document = document
        self._problems = problems

    def matrix(self, given: object) -> Matrix:
        """The matrix; worthless when there were problems."""
        if not isinstance(given, dict):
            self._refuse(("matrix",), f"matrix must be a mapping; {_HOW}")
            return Matrix(())
        before = len(self._problems)
        axes, included = tuple(self._axes(given)), tuple(self._included(given.get("include")))
        if len(self._problems) > before:
            return Matrix(())  # what is left out of something wrong is no second problem
        if prod(map(len, axes)) > _MAX_COMBINATIONS:
            self._refuse(("matrix",), f"matrix has far more combinations than a job nodes ({MAX_NODES}); shorten it")
            return Matrix(())
        matrix = Matrix(axes, self._excluded(given.get("exclude"), axes), included)
        self._check(matrix)
        return matrix

    def _check(self, matrix: Matrix) -> None:
        if not matrix.axes and not matrix.included:
            self._refuse(("matrix",), f"matrix has no parameters; {_HOW}")
        elif not len(matrix):
            self._refuse(("matrix", "exclude"), "exclude leaves no combination; a job needs a node; exclude less")
        elif len(matrix) > MAX_NODES:
            text = f"matrix makes {len(matrix)} nodes; a job has at most {MAX_NODES}; shorten it, or divide the job"
            self._refuse(("matrix",), text)

    def _refuse(self, path: ValuePath, text: str) -> None:
        self._problems.append(Problem(self._document.place(path), text))

    def _axes(self, given: Mapping[str, object]) -> Iterator[Axis]:
        names: dict[str, str] = {}
        for name, value in given.items():
            if name in _PARTS:
                continue
            try:
                check_parameter(name)
                if (other := names.setdefault(name.upper(), name)) != name:
                    raise Wrong(
                        f"parameters {other!r} and {name!r} differ only in case, as variables can't; rename one"
                    )
                yield parse_axis(name, value)
            except Wrong as wrong:
                self._refuse(("matrix", name), str(wrong))

    def _included(self, given: object) -> Iterator[dict[str, str]]:
        for path, entry in self._entries("include", given):
            try:
                yield {check_parameter(name): _text(name, value) for name, value in entry.items()}
            except Wrong as wrong:
                self._refuse(path, str(wrong))

    def _excluded(self, given: object, axes: tuple[Axis, ...]) -> tuple[Span, ...]:
        found: list[Span] = []
        for path, entry in self._entries("exclude", given):
            try:
                found = union(found, matching(axes, _positions(axes, entry)))
            except Wrong as wrong:
                self._refuse(path, str(wrong))
        return tuple(found)

    def _entries(self, part: str, given: object) -> Iterator[tuple[ValuePath, dict[str, object]]]:
        if given is None:
            return
        for index, entry in enumerate(given if isinstance(given, list) else [given]):
            path: ValuePath = ("matrix", part, index) if isinstance(given, list) else ("matrix", part)
            if isinstance(entry, dict) and entry:
                yield path, entry
            else:
                self._refuse(path, f"{part} is a list of mappings; write '- {{NAME: VALUE}}', one a line")


def parse_axis(name: str, value: object) -> Axis:
    """A list of values, one value, ``1..4``, ``1..9..2`` or ``{from: 1, to: 9, step: 2}``. Raises ``Wrong``."""
    if isinstance(value, list):
        values = tuple(_listed(name, item) for item in value)
        if len(set(values)) < len(values):
            twice = next(item for item in values if values.count(item) > 1)
            raise Wrong(f"{name} has the value {twice!r} twice; nodes would be the same; remove one")
        if not values:
            raise Wrong(f"{name} has no values; name one, or leave it out")
        return Axis(name, values)
    if isinstance(value, dict):
        return _from_mapping(name, value)
    text = _text(name, value)
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is not None:
        return _range(name, int(match["from"]), int(match["to"]), int(match["step"] or 1))
    if _LIKE_A_RANGE.fullmatch(text.replace(" ", "")):
        raise Wrong(f"{name} {text!r} is not a range; ranges are of whole numbers, as 1..9 or 1..9..2; list the values")
    return Axis(name, (text,))


def _listed(name: str, item: object) -> str:
    text = _text(name, item)
    if _RANGE.fullmatch(text):
        raise Wrong(
            f"{name} has the range {text!r} in a list; a range stands alone; write {name}: {text}, or each value"
        )
    return text


def _from_mapping(name: str, value: dict[str, object]) -> Axis:
    unknown = [key for key in value if key not in ("from", "to", "step")]
    if unknown or not {"from", "to"} <= value.keys():
        raise Wrong(f"{name} is not a range; a range has from, to and perhaps step; write {{from: 1, to: 9, step: 2}}")
    numbers = []
    for key in ("from", "to", "step"):
        text = text_of(value.get(key) or "1").strip()
        if not re.fullmatch(r"-?[0-9]{1,15}", text):
            raise Wrong(f"{name}: {key} {text!r} is not a whole number; ranges are of whole numbers; list the values")
        numbers.append(int(text))
    return _range(name, *numbers)


def _range(name: str, first: int, last: int, step: int) -> Axis:
    if last < first:
        raise Wrong(f"{name}: {first}..{last} is the wrong way round; the lower end comes first; write {last}..{first}")
    if step < 1:
        raise Wrong(f"{name}: {first}..{last} goes up by {step}; a step is 1 or more; choose another")
    axis = Axis(name, (), first, last, step)
    if len(axis) > MAX_NODES:
        raise Wrong(f"{name} has {len(axis)} values; a job has at most {MAX_NODES} nodes; shorten the range")
    return axis


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"a value of {name} is not one text; write values as [1e-3, 1e-4], in quotes if they hold ': '")
    return check_text(f"matrix.{name}", value)


# ---------------------------------------------------------------- numbers of combinations


def _positions(axes: tuple[Axis, ...], entry: Mapping[str, object]) -> dict[str, list[Span]]:
    """For each parameter that is named: the places of its values on the axis."""
    by_name = {axis.name: axis for axis in axes}
    found = {}
    for name, value in entry.items():
        axis = by_name.get(name)
        if axis is None:
            guess = nearest(name, by_name)
            meant = f"did you mean {guess!r}?" if guess else f"known are {', '.join(by_name)}"
            raise Wrong(f"exclude names {name!r}, which the matrix does not have; {meant}")
        found[name] = _places(axis, parse_axis(name, value))
    return found


def _places(axis: Axis, wanted: Axis) -> list[Span]:
    if not axis.values and not wanted.values and axis.step == wanted.step:
        return [(_place(axis, str(wanted.first)), _place(axis, wanted.value(len(wanted) - 1)) + 1)]
    places = [_place(axis, wanted.value(at)) for at in range(len(wanted))]
    return union([], [(place, place + 1) for place in places])


def _place(axis: Axis, text: str) -> int:
    if axis.values and text in axis.values:
        return axis.values.index(text)
    if not axis.values and re.fullmatch(r"-?[0-9]{1,15}", text):
        at, rest = divmod(int(text) - axis.first, axis.step)
        if not rest and 0 <= at < len(axis):
            return at
    near = nearest(text, axis.values) if axis.values else None
    meant = f"did you mean {near!r}?" if near else "values are compared as they are written"
    raise Wrong(f"exclude names the value {text!r}, which {axis.name} does not have; {meant}")


def matching(axes: tuple[Axis, ...], positions: Mapping[str, list[Span]]) -> list[Span]:
    """The numbers of all combinations with a value at one of the ``positions`` of each axis named there.

    Numbers of what follows the last such axis lie together, so that millions are a few spans. Raises ``Wrong`` when
    they are too many.
    """
    size, spans = 1, [(0, 1)]
    for axis in reversed(axes):
        at = positions.get(axis.name, [(0, len(axis))])
        if spans == [(0, size)]:
            spans = [(start * size, stop * size) for start, stop in at]
        else:
            if len(spans) * sum(stop - start for start, stop in at) > _MAX_SPANS:
                raise Wrong(
                    f"exclude leaves out more than {_MAX_SPANS} separate pieces of the matrix; write the parameters"
                    " that it names before the others in the matrix"
                )
            shifts = [place * size for start, stop in at for place in range(start, stop)]
            spans = union([], [(shift + start, shift + stop) for shift in shifts for start, stop in spans])
        size *= len(axis)
    return spans


def union(some: list[Span], others: list[Span]) -> list[Span]:
    """All numbers that are in one of two lists of spans; sorted, disjoint, and as few spans as possible."""
    merged: list[Span] = []
    for start, stop in sorted([*some, *others]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    if len(merged) > _MAX_SPANS:
        raise Wrong(f"exclude leaves out more than {_MAX_SPANS} separate pieces of the matrix; exclude less")
    return merged
