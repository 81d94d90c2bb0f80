"""The fields of a task file (pydantic): which there are, and what each accepts. All values come in as text."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, model_validator

from coordinator.core.spec import (
    MAX_NODES,
    MAX_PRIORITY,
    MAX_REDUNDANCY,
    MAX_SPARES,
    DisconnectAction,
    OnNodeFailure,
    Placement,
    Range,
    RetryEvent,
    Spread,
    StopCriteria,
)
from coordinator.spec import resources as syntax
from coordinator.spec.durations import parse_duration, parse_max_duration, parse_stop_duration
from coordinator.spec.files import FileMapping, parse_mapping
from coordinator.spec.problems import Wrong, nearest
from coordinator.spec.rules import check_name, check_shell, check_signal, check_text

_INTERPOLATION = re.compile(r"\$\{\{")
_OTHER_TYPES = frozenset({"service", "dev-environment", "fleet", "volume", "gateway"})


class _Fields(BaseModel):
    """A mapping with known fields only; a field without a value counts as not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("this must be one text; write it on one line, or as a block after '|'")
    return value


def plain_text(what: str, value: object) -> str:
    """Text that is passed on as it is; dstack's interpolation is refused. Raises ``Wrong``."""
    text = check_text(what, _text(value))
    if _INTERPOLATION.search(text):
        raise Wrong(
            f"{what} uses '${{{{ … }}}}', which is not supported yet; a node has its values in the environment;"
            " write for example $DSTACK_NODE_RANK"
        )
    return text


def _type(value: object) -> str:
    text = _text(value)
    if text in _OTHER_TYPES:
        raise Wrong(f"type {text!r} is not supported yet; only tasks run here; write 'type: task'")
    if text != "task":
        raise Wrong(f"type {text!r} is not known; only tasks run here; write 'type: task'")
    return text


def _nodes(value: object) -> int:
    count = syntax.parse_count(_text(value))
    if not 1 <= count <= MAX_NODES:
        raise Wrong(f"nodes {count} can't be had; a job has 1 to {MAX_NODES} nodes; choose a number in between")
    return count


def _choice(what: str, value: object, choices: dict[str, Any]) -> Any:
    text = _text(value)
    if text not in choices:
        guess = nearest(text, choices)
        meant = f"did you mean {guess!r}?" if guess else f"write one of {', '.join(choices)}"
        raise Wrong(f"{what} {text!r} is not known; it is {' or '.join(choices)}; {meant}")
    return choices[text]


def _placement(value: object) -> Placement:
    return _choice("placement", value, {each.value: each for each in Placement})  # type: ignore[no-any-return]


def _stop_criteria(value: object) -> StopCriteria:
    return _choice("stop_criteria", value, {each.value: each for each in StopCriteria})  # type: ignore[no-any-return]


def _on_node_failure(value: object) -> OnNodeFailure:
    return _choice("on_node_failure", value, {each.value: each for each in OnNodeFailure})  # type: ignore[no-any-return]


def _spread(value: object) -> Spread:
    return _choice("spread", value, {each.value: each for each in Spread})  # type: ignore[no-any-return]


def _priority(value: object) -> int:
    priority = syntax.parse_count(_text(value))
    if priority > MAX_PRIORITY:
        raise Wrong(f"priority {priority} is too high; it goes from 0 to {MAX_PRIORITY}; choose another")
    return priority


def _redundancy(value: object) -> int:
    copies = syntax.parse_count(_text(value))
    if not 1 <= copies <= MAX_REDUNDANCY:
        raise Wrong(
            f"redundancy {copies} can't be had; it goes from 1 (no second copy) to {MAX_REDUNDANCY}; choose another"
        )
    return copies


def _spares(value: object) -> int:
    spares = syntax.parse_count(_text(value))
    if spares > MAX_SPARES:
        raise Wrong(f"spares {spares} is too high; it goes from 0 to {MAX_SPARES}; choose another")
    return spares


def _disconnect_action(value: object) -> DisconnectAction:
    choices = {each.value: each for each in DisconnectAction}
    return _choice("on_disconnect", value, choices)  # type: ignore[no-any-return]


def _on_disconnect(value: object) -> object:
    """``on_disconnect: keep`` is the short form of a mapping without ``after``."""
    return {"action": value} if isinstance(value, str) else value


def _after(value: object) -> float:
    seconds = parse_duration(_text(value))
    if seconds == 0:
        raise Wrong("after: 0 would stop the node at the first lost packet; write a longer time, such as 5m")
    return seconds


def _retry_event(value: object) -> RetryEvent:
    return _choice("retry event", value, {each.value: each for each in RetryEvent})  # type: ignore[no-any-return]


def _retry_events(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _attempts(value: object) -> int:
    attempts = syntax.parse_count(_text(value))
    if attempts == 0:
        raise Wrong("attempts: 0 would never run the job; write 1 for a single try")
    return attempts


def _retry(value: object) -> object:
    """``retry: true`` is a retry of everything; ``false`` the same as none."""
    if isinstance(value, str):
        if value.lower() in ("true", "yes", "on"):
            return {}
        if value.lower() in ("false", "no", "off"):
            return None
        raise Wrong(f"retry {value!r} is not known; write true, false, or a mapping with on_events, duration, attempts")
    return value


def _commands(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise Wrong("commands must be a list; write each command on its own line after '- '")
    if not isinstance(value, list):
        raise Wrong("commands must be a list of texts; put text that holds ': ' in quotes")
    return tuple(value)


def _command(value: object) -> str:
    if isinstance(value, dict):
        raise Wrong("a command is a mapping here; YAML reads 'text: text' as one; put the command in quotes")
    command = plain_text("the command", value)
    if not command.strip():
        raise Wrong("a command is empty; remove it")
    return command


def _working_dir(value: object) -> str:
    text = plain_text("working_dir", value)
    if text.startswith("~"):
        raise Wrong(f"working_dir {text!r} begins with '~', which is not supported yet; write an absolute path")
    return text


def _files(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


class Cpu(_Fields):
    """``cpu``: a range, ``arm:4..``, or a mapping."""

    arch: Annotated[str, PlainValidator(syntax.parse_arch)] | None = None
    count: Annotated[Range, PlainValidator(syntax.cpu_count)] = Range(1, None)


class Gpu(_Fields):
    """``gpu``: a number, a one-line form, or a mapping."""

    vendor: Annotated[str, PlainValidator(syntax.parse_vendor)] | None = None
    name: Annotated[tuple[str, ...], PlainValidator(syntax.parse_gpu_names)] = ()
    memory: Annotated[Range, PlainValidator(syntax.exact_size)] = Range()
    count: Annotated[Range, PlainValidator(syntax.exact_count)] | None = None
    total_memory: Annotated[Range, PlainValidator(syntax.at_least_size)] = Range()
    compute_capability: Annotated[tuple[int, int], PlainValidator(syntax.parse_compute_capability)] | None = None


class Disk(_Fields):
    """``disk``: a range, or a mapping with ``size``."""

    size: Annotated[Range, PlainValidator(syntax.at_least_size)]


class Retry(_Fields):
    """``retry``: which failures are tried again, for how long, how often."""

    on_events: Annotated[
        tuple[Annotated[RetryEvent, PlainValidator(_retry_event)], ...], BeforeValidator(_retry_events)
    ] = tuple(RetryEvent)
    duration: Annotated[float | None, PlainValidator(lambda value: parse_max_duration(_text(value)))] = None
    attempts: Annotated[int, PlainValidator(_attempts)] | None = None


class OnDisconnect(_Fields):
    """``on_disconnect``: what becomes of a node whose host is out of contact."""

    action: Annotated[DisconnectAction, PlainValidator(_disconnect_action)] = DisconnectAction.STOP
    after: Annotated[float, PlainValidator(_after)] | None = None


def _split_cpu(value: object) -> object:
    if isinstance(value, dict) and value.keys() <= {"min", "max"}:
        return {"count": value}
    return syntax.split_cpu(value) if isinstance(value, str) else value


def _split_gpu(value: object) -> object:
    return syntax.split_gpu(value) if isinstance(value, str) else value


def _split_disk(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, dict) and value.keys() <= {"min", "max"}):
        return {"size": value}
    return value


class Resources(_Fields):
    """``resources``: what one node needs."""

    cpu: Annotated[Cpu, BeforeValidator(_split_cpu)] = Cpu()
    memory: Annotated[Range, PlainValidator(syntax.exact_size)] = Range()
    disk: Annotated[Disk, BeforeValidator(_split_disk)] | None = None
    shm_size: Annotated[int, PlainValidator(lambda value: syntax.parse_size(_text(value)))] | None = None
    gpu: Annotated[Gpu, BeforeValidator(_split_gpu)] | None = None


class TaskFields(_Fields):
    """A whole task. ``env`` is read apart (``env.py``), because its errors belong to single lines."""

    type: Annotated[str, PlainValidator(_type)]
    name: Annotated[str, PlainValidator(lambda value: check_name(_text(value)))] | None = None
    nodes: Annotated[int, PlainValidator(_nodes)] = 1
    placement: Annotated[Placement, PlainValidator(_placement)] = Placement.CLUSTER
    commands: Annotated[tuple[Annotated[str, PlainValidator(_command)], ...], BeforeValidator(_commands)] = ()
    env: Any = None
    working_dir: Annotated[str, PlainValidator(_working_dir)] | None = None
    shell: Annotated[str, PlainValidator(lambda value: check_shell(_text(value)))] | None = None
    resources: Resources = Resources()
    max_duration: Annotated[float | None, PlainValidator(lambda value: parse_max_duration(_text(value)))] = None
    stop_duration: Annotated[float, PlainValidator(lambda value: parse_stop_duration(_text(value)))] | None = None
    stop_signal: Annotated[str, PlainValidator(lambda value: check_signal(_text(value)))] | None = None
    stop_criteria: Annotated[StopCriteria, PlainValidator(_stop_criteria)] = StopCriteria.ALL_DONE
    retry: Annotated[Retry | None, BeforeValidator(_retry)] = None
    on_node_failure: Annotated[OnNodeFailure, PlainValidator(_on_node_failure)] = OnNodeFailure.GO_ON
    spread: Annotated[Spread, PlainValidator(_spread)] = Spread.HOST
    priority: Annotated[int, PlainValidator(_priority)] = 0
    redundancy: Annotated[int, PlainValidator(_redundancy)] = 1
    spares: Annotated[int, PlainValidator(_spares)] = 0
    on_disconnect: Annotated[OnDisconnect, BeforeValidator(_on_disconnect)] = OnDisconnect()
    files: Annotated[tuple[Annotated[FileMapping, PlainValidator(parse_mapping)], ...], BeforeValidator(_files)] = ()
