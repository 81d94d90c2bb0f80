"""From a task file, or a command line, to a checked job specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from coordinator.core.spec import GpuRequest, JobSpec, OnDisconnect, Range, Resources, RetryPolicy
from coordinator.spec import model
from coordinator.spec.document import Document, ValuePath, read_document
from coordinator.spec.env import read_env
from coordinator.spec.files import FileMapping, parse_mapping
from coordinator.spec.problems import Problem, SpecError, Wrong, nearest
from coordinator.spec.rules import contradictions
from coordinator.spec.unsupported import DSTACK_FIELDS


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says, as it was typed; None and empty mean "not given". Options override the file."""

    name: str | None = None
    nodes: str | None = None
    placement: str | None = None
    gpus: str | None = None
    cpus: str | None = None
    memory: str | None = None
    working_dir: str | None = None
    max_duration: str | None = None
    stop_duration: str | None = None
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A checked specification, and the local files that are still to be packed for it."""

    spec: JobSpec
    files: tuple[FileMapping, ...]


_OPTION_PATHS: dict[str, ValuePath] = {
    "name": ("name",),
    "nodes": ("nodes",),
    "placement": ("placement",),
    "gpus": ("resources", "gpu"),
    "cpus": ("resources", "cpu"),
    "memory": ("resources", "memory"),
    "working_dir": ("working_dir",),
    "max_duration": ("max_duration",),
    "stop_duration": ("stop_duration",),
}


def load_task(file: Path, options: Options, environ: Mapping[str, str]) -> Task:
    """Read and check a task file. Raises ``SpecError`` with all problems at once."""
    document = _with_options(read_document(file), options)
    return _check(document, (), options, environ, base=file.parent)


def task_from_command(argv: tuple[str, ...], options: Options, environ: Mapping[str, str]) -> Task:
    """A task that executes ``argv`` as it is. Raises ``SpecError`` with all problems at once."""
    document = _with_options(Document({"type": "task"}, {(): "command line"}), options)
    return _check(document, argv, options, environ, base=Path())


def _with_options(document: Document, options: Options) -> Document:
    data, places = dict(document.data), dict(document.places)
    for option, path in _OPTION_PATHS.items():
        text = getattr(options, option)
        if text is None:
            continue
        places[path] = f"--{option.replace('_', '-')}"
        if len(path) == 1:
            data[str(path[0])] = text
        else:
            section = data.get(str(path[0]))
            data[str(path[0])] = {**(section if isinstance(section, dict) else {}), str(path[1]): text}
    return Document(data, places)


def _check(document: Document, argv: tuple[str, ...], options: Options, environ: Mapping[str, str], base: Path) -> Task:
    problems: list[Problem] = []
    fields = _validated(document, problems)
    env = read_env(document, options.env, environ, problems)
    files = [*_file_problems(document, fields, base, problems), *_option_files(options, problems)]
    spec = None if fields is None else _spec(fields, argv, env)
    if spec is not None:
        problems.extend(Problem(document.place((field,)), text) for field, text in contradictions(spec))
    is_task = document.data.get("type") == "task"
    if is_task and not document.data.get("commands") and not argv:
        text = "commands are missing; a task needs something to run; add 'commands:' and a list"
        problems.append(Problem(document.place(("commands",)), text))
    for argument in argv:
        if "\0" in argument:
            problems.append(
                Problem("command line", "an argument holds a NUL character; no program can be given one; remove it")
            )
    if problems or spec is None:
        raise SpecError(sorted(problems, key=_reading_order))
    return Task(spec, tuple(files))


def _reading_order(problem: Problem) -> tuple[bool, int]:
    _, _, line = problem.place.rpartition(":")
    return not line.isdigit(), int(line) if line.isdigit() else 0


def _validated(document: Document, problems: list[Problem]) -> model.TaskFields | None:
    try:
        return model.TaskFields.model_validate(document.data)
    except ValidationError as error:
        problems.extend(_problem(document, details) for details in error.errors())
        return None


def _problem(document: Document, details: Any) -> Problem:
    path: ValuePath = tuple(details["loc"])
    name = ".".join(str(part) for part in path if isinstance(part, str))
    kind = details["type"]
    if kind == "extra_forbidden":
        text = _unknown_field(path)
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


def _unknown_field(path: ValuePath) -> str:
    field, section = str(path[-1]), ".".join(str(part) for part in path[:-1])
    if not section and (instead := DSTACK_FIELDS.get(field)) is not None:
        return f"field {field!r} is not supported yet; {instead}; remove the field"
    known = _KNOWN.get(section, ())
    guess = nearest(field, known)
    meant = f"did you mean {guess!r}?" if guess else f"known are {', '.join(known)}"
    return f"unknown field {field!r}; {section or 'a task'} has no such field; {meant}"


_KNOWN: dict[str, tuple[str, ...]] = {
    "": tuple(model.TaskFields.model_fields),
    "retry": tuple(model.Retry.model_fields),
    "on_disconnect": tuple(model.OnDisconnect.model_fields),
    "resources": tuple(model.Resources.model_fields),
    "resources.cpu": tuple(model.Cpu.model_fields),
    "resources.gpu": tuple(model.Gpu.model_fields),
    "resources.disk": tuple(model.Disk.model_fields),
}


def _file_problems(
    document: Document, fields: model.TaskFields | None, base: Path, problems: list[Problem]
) -> Iterator[FileMapping]:
    for index, mapping in enumerate(fields.files if fields else ()):
        try:
            yield mapping.under(base)
        except Wrong as wrong:
            problems.append(Problem(document.place(("files", index)), str(wrong)))


def _option_files(options: Options, problems: list[Problem]) -> Iterator[FileMapping]:
    for text in options.files:
        try:
            yield parse_mapping(text).under(Path())
        except Wrong as wrong:
            problems.append(Problem("--files", str(wrong).removeprefix("files: ")))


def _spec(fields: model.TaskFields, argv: tuple[str, ...], env: dict[str, str]) -> JobSpec:
    return JobSpec(
        name=fields.name,
        nodes=fields.nodes,
        placement=fields.placement,
        commands=fields.commands if not argv else (),
        argv=argv,
        shell=fields.shell,
        env=MappingProxyType(env),
        working_dir=fields.working_dir,
        resources=_resources(fields.resources),
        max_duration=fields.max_duration,
        stop_duration=fields.stop_duration,
        stop_signal=fields.stop_signal,
        stop_criteria=fields.stop_criteria,
        retry=_retry(fields.retry) if fields.retry is not None else None,
        on_node_failure=fields.on_node_failure,
        spread=fields.spread,
        priority=fields.priority,
        redundancy=fields.redundancy,
        spares=fields.spares,
        on_disconnect=OnDisconnect(fields.on_disconnect.action, fields.on_disconnect.after),
    )


def _retry(asked: model.Retry) -> RetryPolicy:
    return RetryPolicy(frozenset(asked.on_events), asked.duration, asked.attempts)


def _resources(asked: model.Resources) -> Resources:
    return Resources(
        cpu_arch=asked.cpu.arch,
        cpus=asked.cpu.count,
        memory_bytes=asked.memory,
        disk_bytes=asked.disk.size if asked.disk else Range(),
        shm_bytes=asked.shm_size,
        gpu=_gpu(asked.gpu) if asked.gpu else None,
    )


def _gpu(asked: model.Gpu) -> GpuRequest | None:
    count = asked.count
    if count is None:
        # Memory over all GPUs is only worth asking for when their number is free.
        count = Range(1, None) if asked.total_memory != Range() else Range(1, 1)
    if count.max == 0 or not count.min:
        return None  # a node holds the lower end, and that is no GPU
    return GpuRequest(
        vendor=asked.vendor,
        names=asked.name,
        count=count,
        memory_bytes=asked.memory,
        total_memory_bytes=asked.total_memory,
        min_compute_capability=asked.compute_capability,
    )
