"""The coordinator's test of GPUs: a quick look and a little work, by the agent itself, while nothing holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.check import quick
from agent.check.burn import Order
from agent.check.examination import examine, of_uuids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.hardware import Gpu, HardwareReport, NvmlProbe

_WORK = Order(seconds=5.0, spare=60.0)


async def carry_out(report: HardwareReport, gpu_uuids: Sequence[str], probe: NvmlProbe) -> dict[str, str]:
    """Why these GPUs (none named: the host, under ``""``) are not fit for work, by uuid; empty: they are.

    Those that can't be given work, because there is no CUDA or a process of somebody else has them, are only looked at.
    """
    looked = quick.failures(report, gpu_uuids)
    well = [uuid for uuid, failure in looked.items() if uuid and not failure]
    free = [gpu for gpu in of_uuids(report.gpus, well) if not _used(gpu)]
    for examined in await examine(report, free, probe, _WORK) if free else ():
        uuid = next(uuid for uuid in well if uuid in (examined.gpu.uuid, examined.gpu.parent))
        if examined.burnt is not None and examined.burnt.impossible:
            examined = replace(examined, findings=tuple(f for f in examined.findings if f.topic != "burn"))
        looked[uuid] = "; ".join(filter(None, [looked[uuid], examined.failure]))
    return looked


def _used(gpu: Gpu) -> bool:
    return gpu.vitals is not None and bool(gpu.vitals.processes)
