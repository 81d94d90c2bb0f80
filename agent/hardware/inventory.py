"""Which GPUs a host has, over many readings: one that goes missing is kept, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.hardware import problems
from agent.hardware.answer import placeholder
from agent.hardware.model import Gpu, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Inventory:
    """The GPUs last seen, by uuid. Only GPUs that have told their uuid are remembered.

    A GPU and its MIG instances stand under one index, and never in one list: while it answers, what it is no longer
    divided into is forgotten, and while it does not, its instances are what is missing.
    """

    def __init__(self) -> None:
        self._known: dict[str, Gpu] = {}

    def take(self, seen: Iterable[Gpu], blocked: Mapping[int, Problem], complete: bool) -> tuple[Gpu, ...]:
        """The host's GPUs after a reading.

        Args:
            seen: the GPUs that answered, were it with an error.
            blocked: index and problem of those that are not asked for now.
            complete: whether the reading went to its end; a GPU neither seen nor blocked is then gone.
        """
        seen = list(seen)
        told = {gpu.uuid for gpu in seen}
        now = {known.uuid: known for gpu in seen for known in self._identified(gpu, told)}
        for index, problem in blocked.items():
            for gpu in self._at(index, now) or [Gpu(placeholder(index), index)]:
                now[gpu.uuid] = silent(gpu, problem)
        answered = {card(gpu) for gpu in now.values()}
        for uuid, gpu in self._known.items():
            if uuid not in now and card(gpu) not in answered:
                now[uuid] = silent(gpu, problems.unlisted() if complete else gpu.problem)
        self._known = {uuid: gpu for uuid, gpu in now.items() if uuid != placeholder(gpu.index)}
        return _ordered(now.values())

    def all_silent(self, problem: Problem) -> tuple[Gpu, ...]:
        """The host's GPUs while the driver as a whole does not answer."""
        return _ordered(silent(gpu, problem) for gpu in self._known.values())

    def _identified(self, gpu: Gpu, told: set[str]) -> list[Gpu]:
        """``gpu``, or what it was divided into, with what is known of it from before, if it has a problem and tells
        less than it did."""
        if gpu.problem is None or gpu.problem == problems.no_instance():
            return [gpu]
        nameless = gpu.uuid == placeholder(gpu.index)
        known = self._at(gpu.index, told) if nameless else [g for g in self._known.values() if card(g) == gpu.uuid]
        if any(g.parent for g in known):
            return [silent(g, gpu.problem) for g in known]
        return [_overlaid(known[0], gpu)] if known else [gpu]

    def _at(self, index: int, taken: Iterable[str]) -> list[Gpu]:
        """What was last seen at an index, and is not elsewhere now: a GPU, or its instances."""
        elsewhere = set(taken)
        found = [g for g in self._known.values() if g.index == index and g.uuid not in elsewhere]
        return [g for g in found if card(g) == card(found[0])]


def card(gpu: Gpu) -> str:
    """The uuid of the whole GPU that this is, or is a part of."""
    return gpu.parent or gpu.uuid


def silent(gpu: Gpu, problem: Problem | None) -> Gpu:
    """``gpu`` without the values that only hold while it answers."""
    return replace(
        gpu,
        utilization_percent=None,
        memory_used_bytes=None,
        temperature_c=None,
        power_watts=None,
        vitals=None,
        problem=problem,
    )


def _overlaid(known: Gpu, gpu: Gpu) -> Gpu:
    return replace(
        gpu,
        uuid=known.uuid,
        name=gpu.name or known.name,
        memory_bytes=gpu.memory_bytes or known.memory_bytes,
        compute_capability=gpu.compute_capability or known.compute_capability,
        pci_bus=gpu.pci_bus or known.pci_bus,
        power_limit_watts=gpu.power_limit_watts or known.power_limit_watts,
        nvlinks=known.nvlinks if gpu.nvlinks is None else gpu.nvlinks,
    )


def _ordered(gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    return tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid)))
