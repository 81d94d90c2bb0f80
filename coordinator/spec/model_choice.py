"""Which hosts a task file wants, and what runs on which: ``labels``, ``variants``, ``groups``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import PlainValidator, model_validator

from coordinator.core import spec as core
from coordinator.spec.durations import parse_duration
from coordinator.spec.fields import Fields, count, number, plain_text, text_of
from coordinator.spec.model_program import Commands
from coordinator.spec.model_resources import Resources
from coordinator.spec.problems import Wrong
from coordinator.spec.rules import check_part_name, check_utilization

Env = Mapping[str, str]

_MAX_SPEED = 1e6


def parse_labels(value: object) -> Mapping[str, str]:
    """``{zone: b, disk: nvme}`` or ``[zone=b, disk=nvme]``. Raises ``Wrong``."""
    pairs = list(value.items()) if isinstance(value, dict) else [_pair(item) for item in _items(value)]
    found = {str(key).strip(): plain_text(f"label {key}", text) for key, text in pairs}
    if len(found) < len(pairs) or not all(found):
        raise Wrong("labels have a name twice, or an empty one; a host has one value for each; keep one")
    return MappingProxyType(found)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _pair(item: object) -> tuple[str, str]:
    name, equals, text = item.partition("=") if isinstance(item, str) else ("", "", "")
    if not equals:
        raise Wrong("labels are names and values; write 'NAME: VALUE' lines, or a list of NAME=VALUE")
    return name, text


class Variant(Fields):
    """One of ``variants``: how a node runs on one kind of hardware. ``env`` is read apart (``env.py``)."""

    name: Annotated[str, PlainValidator(lambda value: check_part_name("variant", text_of(value)))] | None = None
    resources: Resources = Resources()
    env: Any = None
    commands: Commands = ()
    precision: Annotated[str, PlainValidator(lambda value: plain_text("precision", value))] = ""
    speed: Annotated[float, PlainValidator(number("speed", _MAX_SPEED, "2.5"))] | None = None

    def variant(self, index: int, common: Resources, env: Env) -> core.Variant:
        """The variant at ``index``; what its ``resources`` do not say is the job's."""
        return core.Variant(
            name=self.name or f"variant-{index + 1}",
            resources=self.resources.over(common).needed(),
            env=env,
            commands=self.commands,
            precision=self.precision,
            speed=self.speed,
        )


class Group(Fields):
    """One of ``groups``: nodes of a cluster that are alike. ``env`` is read apart (``env.py``)."""

    name: Annotated[str, PlainValidator(lambda value: check_part_name("group", text_of(value)))] | None = None
    nodes: Annotated[int, PlainValidator(count("nodes", 1, core.MAX_NODES))] = 1
    resources: Resources = Resources()
    env: Any = None
    commands: Commands = ()

    def group(self, index: int, common: Resources, env: Env) -> core.NodeGroup:
        """The group at ``index``; what its ``resources`` do not say is the job's."""
        return core.NodeGroup(
            name=self.name or f"group-{index}",
            nodes=self.nodes,
            resources=self.resources.over(common).needed(),
            env=env,
            commands=self.commands,
        )


def _percent(value: object) -> float:
    return number("min_gpu_utilization", 100, "10")(text_of(value).removesuffix("%"))


class UtilizationPolicy(Fields):
    """``utilization_policy``: a node whose GPUs idle is stopped."""

    min_gpu_utilization: Annotated[float, PlainValidator(_percent)]
    time_window: Annotated[float, PlainValidator(lambda value: parse_duration(text_of(value)))]

    @model_validator(mode="after")
    def _can_be_kept(self) -> UtilizationPolicy:
        check_utilization(self.policy())
        return self

    def policy(self) -> core.UtilizationPolicy:
        """The rule that the core keeps."""
        return core.UtilizationPolicy(self.min_gpu_utilization, self.time_window)
