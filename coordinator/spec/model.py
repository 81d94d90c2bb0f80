"""The fields of a task file (pydantic): which there are, and what each accepts. All values come in as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from coordinator.core.spec import (
    MAX_NODES,
    MAX_PRIORITY,
    MAX_REDUNDANCY,
    MAX_SPARES,
    OnNodeFailure,
    Optimize,
    Placement,
    SpotPolicy,
    Spread,
    StartupOrder,
    StopCriteria,
)
from coordinator.spec.durations import parse_max_duration, parse_stop_duration
from coordinator.spec.fields import Fields, choice, count, flag, listed, names, plain_text, text_of, usd
from coordinator.spec.files import FileMapping, parse_mapping
from coordinator.spec.model_choice import Group, UtilizationPolicy, Variant, parse_labels
from coordinator.spec.model_container import Entrypoint, Image, Python, RegistryAuth
from coordinator.spec.model_failures import OnDisconnect, Retry, parse_on_disconnect, parse_retry
from coordinator.spec.model_many import After, Array, parse_after, parse_array, parse_max_running, parse_schedule
from coordinator.spec.model_preflight import Preflight, parse_preflight
from coordinator.spec.model_program import Commands, parse_working_dir
from coordinator.spec.model_resources import Resources
from coordinator.spec.problems import Wrong
from coordinator.spec.resources import parse_count
from coordinator.spec.rules import check_name, check_near, check_shell, check_signal, check_user

_OTHER_TYPES = frozenset({"service", "dev-environment", "fleet", "volume", "gateway"})
_MAX_PRICE = 1e6
_MAX_BUDGET = 1e9

Names = tuple[str, ...]


def _type(value: object) -> str:
    text = text_of(value)
    if text in _OTHER_TYPES:
        raise Wrong(f"type {text!r} is not supported yet; only tasks run here; write 'type: task'")
    if text != "task":
        raise Wrong(f"type {text!r} is not known; only tasks run here; write 'type: task'")
    return text


def _nodes(value: object) -> int:
    number = parse_count(text_of(value))
    if not 1 <= number <= MAX_NODES:
        raise Wrong(f"nodes {number} can't be had; a job has 1 to {MAX_NODES} nodes; choose a number in between")
    return number


def _files(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


class TaskFields(Fields):
    """A whole task. ``env`` and ``matrix`` are read apart (``env.py``, ``matrix.py``): their errors belong to lines."""

    type: Annotated[str, PlainValidator(_type)]
    name: Annotated[str, PlainValidator(lambda value: check_name(text_of(value)))] | None = None
    nodes: Annotated[int, PlainValidator(_nodes)] | None = None
    placement: Annotated[Placement, PlainValidator(choice("placement", Placement))] = Placement.CLUSTER
    commands: Commands = ()
    env: Any = None
    working_dir: Annotated[str, PlainValidator(parse_working_dir)] | None = None
    user: Annotated[str, PlainValidator(lambda value: check_user(plain_text("user", value)))] | None = None
    shell: Annotated[str, PlainValidator(lambda value: check_shell(text_of(value)))] | None = None
    files: Annotated[tuple[Annotated[FileMapping, PlainValidator(parse_mapping)], ...], BeforeValidator(_files)] = ()
    image: Image | None = None
    registry_auth: RegistryAuth | None = None
    entrypoint: Entrypoint | None = None
    privileged: Annotated[bool, PlainValidator(flag("privileged"))] = False
    python: Python | None = None
    resources: Resources = Resources()
    variants: Annotated[tuple[Variant, ...], BeforeValidator(listed("variants"))] = ()
    groups: Annotated[tuple[Group, ...], BeforeValidator(listed("groups"))] = ()
    startup_order: Annotated[StartupOrder, PlainValidator(choice("startup_order", StartupOrder))] = StartupOrder.ANY
    preflight: Annotated[Preflight | None, BeforeValidator(parse_preflight)] = None

    # Which hosts.
    backends: Annotated[Names, PlainValidator(names("a backend"))] = ()
    regions: Annotated[Names, PlainValidator(names("a region"))] = ()
    instance_types: Annotated[Names, PlainValidator(names("an instance type"))] = ()
    fleets: Annotated[Names, PlainValidator(names("a fleet"))] = ()
    hosts: Annotated[Names, PlainValidator(names("a host"))] = ()
    labels: Annotated[Mapping[str, str], PlainValidator(parse_labels)] = Field(default_factory=dict)
    max_price: Annotated[float, PlainValidator(usd("max_price", _MAX_PRICE, positive=False))] | None = None
    spot_policy: Annotated[SpotPolicy, PlainValidator(choice("spot_policy", SpotPolicy))] = SpotPolicy.AUTO
    optimize: Annotated[Optimize, PlainValidator(choice("optimize", Optimize))] = Optimize.COST
    near: Annotated[str, PlainValidator(lambda value: check_near(plain_text("near", value)))] | None = None

    # Many nodes.
    matrix: Any = None
    array: Annotated[Array, PlainValidator(parse_array)] | None = None
    each_line: Annotated[str, PlainValidator(lambda value: plain_text("each_line", value))] | None = None
    max_running: Annotated[int, PlainValidator(parse_max_running)] | None = None

    # When, for how long, for how much, before whom.
    after: Annotated[tuple[After, ...], BeforeValidator(parse_after)] = ()
    schedule: Annotated[str, PlainValidator(parse_schedule)] | None = None
    max_duration: Annotated[float | None, PlainValidator(lambda value: parse_max_duration(text_of(value)))] = None
    stop_duration: Annotated[float, PlainValidator(lambda value: parse_stop_duration(text_of(value)))] | None = None
    stop_signal: Annotated[str, PlainValidator(lambda value: check_signal(text_of(value)))] | None = None
    stop_criteria: Annotated[StopCriteria, PlainValidator(choice("stop_criteria", StopCriteria))] = (
        StopCriteria.ALL_DONE
    )
    utilization_policy: UtilizationPolicy | None = None
    budget: Annotated[float, PlainValidator(usd("budget", _MAX_BUDGET, positive=True))] | None = None
    priority: Annotated[int, PlainValidator(count("priority", 0, MAX_PRIORITY))] = 0
    preemptible: Annotated[bool, PlainValidator(flag("preemptible"))] = False

    # Failures.
    retry: Annotated[Retry | None, BeforeValidator(parse_retry)] = None
    on_node_failure: Annotated[OnNodeFailure, PlainValidator(choice("on_node_failure", OnNodeFailure))] = (
        OnNodeFailure.GO_ON
    )
    spread: Annotated[Spread, PlainValidator(choice("spread", Spread))] = Spread.HOST
    redundancy: Annotated[int, PlainValidator(count("redundancy", 1, MAX_REDUNDANCY))] = 1
    spares: Annotated[int, PlainValidator(count("spares", 0, MAX_SPARES))] = 0
    on_disconnect: Annotated[OnDisconnect, BeforeValidator(parse_on_disconnect)] = OnDisconnect()
