"""One examination of GPUs: what their driver says, the work they are given, and what it says then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.check import quick, verdict
from agent.check.burn import Burnt, Order, burn
from agent.hardware.inventory import card
from agent.hardware.report import read_hardware

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.hardware import Gpu, GpuEvent, HardwareReport, NvmlProbe
    from agent.hardware.diagnosis import Finding

XID = 8


@dataclass(frozen=True, slots=True)
class Examined:
    """One GPU, all that was found, and its work if it was given any."""

    gpu: Gpu
    findings: tuple[Finding, ...]
    burnt: Burnt | None = None

    @property
    def failure(self) -> str:
        """Why it is not fit for work; empty: it is."""
        return verdict.failed(self.findings)


class Xids:
    """The XIDs of GPUs by their index, as a probe tells them."""

    def __init__(self) -> None:
        self._heard: list[GpuEvent] = []

    def hear(self, event: GpuEvent) -> None:
        """For the probe's ``on_event``."""
        if event.type == XID:
            self._heard.append(event)

    def of(self, index: int) -> list[int]:
        """Of one GPU, in their order."""
        return [event.data for event in self._heard if event.index == index]


async def examine(
    report: HardwareReport,
    chosen: Sequence[Gpu],
    probe: NvmlProbe,
    order: Order | None = None,
    xids: Callable[[int], Sequence[int]] = lambda index: (),
) -> list[Examined]:
    """What ``report`` says of these GPUs, and, with an ``order``, what their work shows of those that can have any."""
    found = {gpu.uuid: list(quick.examine(gpu)) for gpu in chosen}
    # A GPU that its driver cannot reach would only hold up the others' check.
    fit = [gpu for gpu in chosen if gpu.problem is None and gpu.uuid]
    if order is None or report.gpu_problem is not None or not fit:
        return [Examined(gpu, tuple(found[gpu.uuid])) for gpu in chosen]
    burnt = await burn(fit, order, probe)
    after = {gpu.uuid: gpu for gpu in (await read_hardware(probe)).gpus}
    slow = verdict.of_company(fit, burnt)
    for gpu in fit:
        found[gpu.uuid] += verdict.of_work(burnt[gpu.uuid])
        found[gpu.uuid] += verdict.of_change(gpu, after.get(gpu.uuid), xids(gpu.index))
        found[gpu.uuid] += [slow[gpu.uuid]] if gpu.uuid in slow else []
    return [Examined(gpu, tuple(found[gpu.uuid]), burnt.get(gpu.uuid)) for gpu in chosen]


def of_uuids(gpus: Sequence[Gpu], uuids: Sequence[str]) -> list[Gpu]:
    """The GPUs of these uuids, with all parts of those that are divided."""
    return [gpu for gpu in gpus if gpu.uuid in uuids or card(gpu) in uuids]
