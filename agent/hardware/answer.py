"""The worker's JSON lines, checked and turned into GPUs. Pure: no process, no clock."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from agent.hardware import problems
from agent.hardware.model import Gpu, GpuEvent, GpuProcess, Vitals
from agent.hardware.problems import NvmlFailure

_NUMBERS = tuple(name for name, kind in Vitals.__annotations__.items() if kind == "int | None")
_TRUTHS = tuple(name for name, kind in Vitals.__annotations__.items() if kind == "bool | None")


class GarbledError(ValueError):
    """The worker's line is no answer to the question."""


def placeholder(index: int) -> str:
    """What a GPU is called as long as it has never told its uuid."""
    return f"unknown-{index}"


@dataclass(slots=True)
class Answer:
    """What has been heard of one answer so far; ``count`` is ``None`` until the driver has answered."""

    request_id: int
    skip: frozenset[int] = frozenset()
    count: int | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: list[Gpu] = field(default_factory=list)
    error: NvmlFailure | None = None
    done: bool = False

    def hear(self, line: bytes) -> None:
        """Take in one line; lines that answer an earlier request, given up meanwhile, are passed over.

        Raises:
            GarbledError: the line is not one of the worker's.
        """
        said = _object(line)
        if said.get("id") != self.request_id:
            return
        if "driver" in said:
            self._hear_driver(_mapping(said["driver"]))
        elif "gpu" in said:
            self.gpus += _gpus(_mapping(said["gpu"]))
        elif "error" in said:
            self.error, self.done = _failure(_mapping(said["error"])), True
        elif said.get("done") is True:
            self.done = True
        else:
            raise GarbledError(f"a line with {', '.join(map(repr, said)) or 'nothing'}")

    def _hear_driver(self, driver: dict[str, Any]) -> None:
        self.count = _integer(driver.get("count")) or 0
        self.driver_version = _text(driver.get("driver_version"))
        self.cuda_version = _text(driver.get("cuda_version"))

    @property
    def waiting_for(self) -> int | None:
        """Index of the GPU whose answer is due; ``None`` while that of the driver as a whole is."""
        heard = {gpu.index for gpu in self.gpus}
        due = (i for i in range(self.count or 0) if i not in heard and i not in self.skip)
        return next(due, None)


def _object(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise GarbledError(f"{line[:80]!r} is not JSON") from error
    return _mapping(said)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GarbledError(f"{str(value)[:80]!r} is not an object")
    return value


def _gpus(said: dict[str, Any]) -> list[Gpu]:
    """The GPU, or what it is divided into."""
    gpu, instances = _gpu(said), said.get("instances")
    if not isinstance(instances, list) or gpu.problem is not None:
        return [gpu]
    found = [_instance(gpu, _mapping(instance)) for instance in instances]
    named = [instance for instance in found if instance.uuid]
    return named or [replace(gpu, problem=problems.no_instance())]


def _instance(gpu: Gpu, said: dict[str, Any]) -> Gpu:
    return Gpu(
        # Without one it could be given to nobody.
        uuid=_text(said.get("uuid")) or "",
        index=gpu.index,
        name=_text(said.get("name")) or (f"{gpu.name} MIG" if gpu.name else None),
        memory_bytes=_integer(said.get("memory_bytes")) or None,
        memory_used_bytes=_integer(said.get("memory_used_bytes")),
        # Drivers tell it of the whole alone.
        compute_capability=_pair(said.get("compute_capability")) or gpu.compute_capability,
        pci_bus=gpu.pci_bus,
        parent=gpu.uuid,
        gpu_instance=_integer(said.get("gpu_instance")),
        # Told of the whole alone, too, and of each of its parts it is true.
        vitals=gpu.vitals,
    )


def _gpu(said: dict[str, Any]) -> Gpu:
    index = _integer(said.get("index"))
    if index is None:
        raise GarbledError("a GPU without an index")
    error, vitals = said.get("error"), said.get("vitals")
    return Gpu(
        uuid=_text(said.get("uuid")) or placeholder(index),
        index=index,
        name=_text(said.get("name")),
        memory_bytes=_integer(said.get("memory_bytes")) or None,
        compute_capability=_pair(said.get("compute_capability")),
        pci_bus=_text(said.get("pci_bus")),
        power_limit_watts=_watts(said.get("power_limit_milliwatts")) or None,
        utilization_percent=_integer(said.get("utilization_percent")),
        memory_used_bytes=_integer(said.get("memory_used_bytes")),
        temperature_c=_integer(said.get("temperature_c"), least=-273),
        power_watts=_watts(said.get("power_milliwatts")),
        nvlinks=_integer(said.get("nvlinks")),
        vitals=_vitals(vitals) if isinstance(vitals, dict) else None,
        problem=None if error is None else problems.gpu_problem(_failure(_mapping(error))),
    )


def _vitals(said: dict[str, Any]) -> Vitals:
    told: dict[str, Any] = {name: _integer(said.get(name)) for name in _NUMBERS}
    told |= {name: _truth(said.get(name)) for name in _TRUTHS}
    return Vitals(
        **told,
        links=_links(said.get("links")),
        link_errors=_counts(said.get("link_errors")),
        processes=_processes(said.get("processes")),
        events=said.get("events") is True,
    )


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _links(value: object) -> tuple[bool, ...] | None:
    return tuple(up is True for up in value) if isinstance(value, list) and value else None


def _counts(value: object) -> tuple[int, ...] | None:
    return tuple(_integer(number) or 0 for number in value) if isinstance(value, list) and value else None


def _processes(value: object) -> tuple[GpuProcess, ...] | None:
    if not isinstance(value, list):
        return None
    pairs = (pair for pair in value if isinstance(pair, list) and len(pair) == 2)
    return tuple(GpuProcess(pid, _integer(memory)) for pid, memory in pairs if _integer(pid) is not None)


def heard_event(line: bytes) -> GpuEvent | None:
    """What NVML said by itself, if ``line`` is that rather than part of an answer.

    Raises:
        GarbledError: the line is not one of the worker's.
    """
    said = _object(line)
    if "event" not in said:
        return None
    event = _mapping(said["event"])
    index, kind, data = (_integer(event.get(name)) for name in ("index", "type", "data"))
    if index is None or kind is None or data is None:
        raise GarbledError("an event without a GPU, a type or data")
    return GpuEvent(index, kind, data, _integer(event.get("gpu_instance")))


def _failure(said: dict[str, Any]) -> NvmlFailure:
    return NvmlFailure(_integer(said.get("nvml")), _text(said.get("text")) or "no reason given")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object, least: int = 0) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if value >= least else None


def _watts(milliwatts: object) -> float | None:
    if isinstance(milliwatts, bool) or not isinstance(milliwatts, int | float):
        return None
    return milliwatts / 1000 if math.isfinite(milliwatts) and milliwatts >= 0 else None


def _pair(value: object) -> tuple[int, int] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    major, minor = _integer(value[0]), _integer(value[1])
    return None if not major or minor is None else (major, minor)
