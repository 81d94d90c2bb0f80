"""From a task file, or a command line, to a checked job specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from coordinator.core.matrix import Matrix, MatrixSource
from coordinator.core.spec import JobSpec, RegistryAuth
from coordinator.spec import model
from coordinator.spec.convert import Parts, job_spec
from coordinator.spec.document import Document, read_document
from coordinator.spec.env import read_env
from coordinator.spec.files import FileMapping, parse_mapping
from coordinator.spec.lines import read_lines
from coordinator.spec.matrix import read_matrix
from coordinator.spec.options import Options, overridden
from coordinator.spec.problems import Problem, SpecError, ValuePath, Wrong
from coordinator.spec.references import reference_problems
from coordinator.spec.rules import MATRIX_FIELDS, check_different, contradictions
from coordinator.spec.unknown import unknown_field

__all__ = ["Options", "Task", "load_task", "task_from_command", "task_of"]


@dataclass(frozen=True, slots=True)
class Task:
    """A checked specification, and the local files that are still to be packed for it."""

    spec: JobSpec
    files: tuple[FileMapping, ...]


def load_task(file: Path, options: Options, environ: Mapping[str, str]) -> Task:
    """Read and check a task file. Raises ``SpecError`` with all problems at once."""
    return task_of(read_document(file), (), options, environ, base=file.parent)


def task_from_command(argv: tuple[str, ...], options: Options, environ: Mapping[str, str]) -> Task:
    """A task that executes ``argv`` as it is. Raises ``SpecError`` with all problems at once."""
    return task_of(Document({"type": "task"}, {(): "command line"}), argv, options, environ)


def task_of(
    document: Document, argv: tuple[str, ...], options: Options, environ: Mapping[str, str], base: Path | None = None
) -> Task:
    """A task that was read; its files are relative to ``base``. Raises ``SpecError`` with all problems at once."""
    return _Reader(document, argv, options, base or Path()).task(environ)


class _Reader:
    """Reads one task, and gathers all that is wrong with it."""

    def __init__(self, document: Document, argv: tuple[str, ...], options: Options, base: Path) -> None:
        self._problems: list[Problem] = []
        self._document = overridden(document, options, self._problems)
        self._argv = argv
        self._options = options
        self._base = base

    def task(self, environ: Mapping[str, str]) -> Task:
        """The task. Raises ``SpecError``."""
        fields = self._fields()
        env = read_env(self._document, self._options.env, environ, self._problems)
        self._document = replace(self._document, places={**self._document.places, **env.places})
        matrix = self._matrix(fields)
        files = [*self._file_mappings(fields), *self._files_of_options()]
        self._check_program()
        auth = self._registry_auth(fields, env.values.get((), {}), environ)
        spec = None if fields is None else self._spec(fields, Parts(self._argv, env.values, matrix, auth))
        if self._problems or spec is None:
            raise SpecError(sorted(dict.fromkeys(self._problems), key=_reading_order))
        return Task(spec, tuple(files))

    def _tell(self, path: ValuePath, text: str) -> None:
        self._problems.append(Problem(self._document.place(path), text))

    def _fields(self) -> model.TaskFields | None:
        try:
            return model.TaskFields.model_validate(self._document.data)
        except ValidationError as error:
            self._problems.extend(_problem(self._document, details) for details in error.errors())
            return None

    def _registry_auth(
        self, fields: model.TaskFields | None, variables: Mapping[str, str], environ: Mapping[str, str]
    ) -> RegistryAuth | None:
        if fields is None or fields.registry_auth is None:
            return None
        try:
            return fields.registry_auth.filled(variables, environ)
        except Wrong as wrong:
            self._tell(("registry_auth",), str(wrong))
            return None

    def _matrix(self, fields: model.TaskFields | None) -> Matrix | None:
        given = [field for field in MATRIX_FIELDS.values() if self._document.data.get(field) is not None]
        if len(given) > 1:
            text = f"{' and '.join(given)} exclude each other; each gives the nodes their values; keep one of them"
            self._tell((given[-1],), text)
            return None
        if fields is not None and fields.array is not None:
            return Matrix((fields.array.axis,), source=MatrixSource.ARRAY)
        if fields is not None and fields.each_line is not None:
            return self._lines(fields.each_line)
        return read_matrix(self._document, self._problems)

    def _lines(self, name: str) -> Matrix | None:
        base = Path() if self._options.each_line is not None else self._base
        try:
            return read_lines(base / Path(name).expanduser())
        except (Wrong, RuntimeError) as wrong:
            self._tell(("each_line",), str(wrong))
            return None

    def _file_mappings(self, fields: model.TaskFields | None) -> Iterator[FileMapping]:
        for index, mapping in enumerate(fields.files if fields else ()):
            try:
                yield mapping.under(self._base)
            except Wrong as wrong:
                self._tell(("files", index), str(wrong))

    def _files_of_options(self) -> Iterator[FileMapping]:
        for text in self._options.files:
            try:
                yield parse_mapping(text).under(Path())
            except Wrong as wrong:
                self._problems.append(Problem("--files", str(wrong).removeprefix("files: ")))

    def _check_program(self) -> None:
        data = self._document.data
        if data.get("type") == "task" and not (
            data.get("commands") or self._argv or data.get("image") or _in_all_parts(data)
        ):
            text = "commands are missing; a task needs something to run; add 'commands:' and a list"
            self._tell(("commands",), text)
        for argument in self._argv:
            if "\0" in argument:
                text = "an argument holds a NUL character; no program can be given one; remove it"
                self._problems.append(Problem("command line", text))

    def _check_parts(self, fields: model.TaskFields, spec: JobSpec) -> None:
        for what, parts in (("variant", spec.variants), ("group", spec.groups)):
            try:
                check_different(what, [part.name for part in parts])
            except Wrong as wrong:
                self._tell((f"{what}s",), str(wrong))
        if (twice := _twice([each.job for each in spec.after])) is not None:
            self._tell(("after",), f"after names {twice!r} twice; one end of a job is waited for; keep one of them")
        self._check_max_running(fields)
        own = [variant.resources.model_fields_set for variant in fields.variants]
        own += [group.resources.model_fields_set for group in fields.groups]
        for option, field in (("gpus", "gpu"), ("cpus", "cpu"), ("memory", "memory")):
            if getattr(self._options, option) is not None and own and all(field in each for each in own):
                what = "variant" if fields.variants else "group"
                self._tell(("resources", field), f"each {what} says itself what it needs; change it in the file")

    def _check_max_running(self, fields: model.TaskFields) -> None:
        of_array = fields.array.max_running if fields.array is not None else None
        of_file = fields.max_running if self._options.max_running is None else None
        if of_file is not None and of_array is not None and of_file != of_array:
            text = f"max_running {of_file} and array's %{of_array} are not the same; write one of them"
            self._tell(("max_running",), text)

    def _spec(self, fields: model.TaskFields, parts: Parts) -> JobSpec:
        spec = job_spec(fields, parts)
        self._check_parts(fields, spec)
        if not self._problems or parts.matrix is not None:
            # What refers to a matrix that is wrong itself is no second problem.
            for path, text in reference_problems(spec):
                self._tell(path, text)
        for field, text in contradictions(spec):
            self._tell((field,), text)
        return spec


def _twice(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def _in_all_parts(data: Mapping[str, object]) -> bool:
    """Whether each variant, or group, has commands of its own."""
    parts = [part for name in ("variants", "groups") for part in _items(data.get(name))]
    return bool(parts) and all(isinstance(part, dict) and part.get("commands") for part in parts)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _reading_order(problem: Problem) -> tuple[bool, int]:
    _, _, line = problem.place.rpartition(":")
    return not line.isdigit(), int(line) if line.isdigit() else 0


def _problem(document: Document, details: Any) -> Problem:
    path: ValuePath = tuple(details["loc"])
    name = ".".join(str(part) for part in path if isinstance(part, str))
    kind = details["type"]
    if kind == "extra_forbidden":
        text = unknown_field(path)
    elif kind == "missing":
        text = f"{name} is missing; " + ("write 'type: task' first" if name == "type" else "add it")
    elif isinstance(wrong := details.get("ctx", {}).get("error"), Wrong):
        text = _with_name(name, str(wrong), document.place(path))
    else:
        text = f"{name or 'the file'} must be a mapping; write 'field: value' lines, indented under it"
    return Problem(document.place(path), text)


def _with_name(name: str, text: str, place: str) -> str:
    # Said once is enough: an option is a name itself, and many messages begin with the field.
    named = place.startswith("--") or text.startswith(name.rpartition(".")[2])
    return text if named else f"{name}: {text}"
