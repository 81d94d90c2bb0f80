"""What work on a GPU, and what its driver says after it, mean. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.check.burn import slowest
from agent.hardware.diagnosis import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.check.burn import Burnt, Work
    from agent.hardware import Gpu

_THERMAL, _POWER_BRAKE = 0x40, 0x80
# GPUs of one kind differ by some percent, by their silicon and their place in the air.
_SLOW = 0.85
_BROKEN = "give it no work; reset it, or reboot; if it comes back, have the card replaced"


def of_work(burnt: Burnt) -> Iterator[Finding]:
    """What its work showed of one GPU."""
    if burnt.impossible:
        way_out = "install the driver's libcuda.so.1, or give --python one whose torch has CUDA"
        yield Finding("error", "burn", f"it could not be given work: {burnt.impossible}", way_out)
    if burnt.broken:
        yield Finding("error", "burn", burnt.broken, _BROKEN)
    yield from map(_of_one, burnt.works)
    if burnt.slowdown & _THERMAL:
        yield Finding("warn", "thermal", "under load its hardware slowed it down for its temperature", _COOLING)
    if burnt.slowdown & _POWER_BRAKE:
        yield Finding("warn", "power", "under load its hardware slowed it down at a signal of the power supply", _POWER)
    if burnt.works and (told := _meanwhile(burnt)):
        yield Finding("ok", "load", told)


_COOLING = "look after its cooling: fans, dust, air flow, neighbours"
_POWER = "look after the power supplies, their cables and the limit of the rack"


def _of_one(work: Work) -> Finding:
    figure = "" if work.figure is None else f", {work.figure:g} {work.unit}"
    if work.errors:
        what = f"{work.errors} wrong results" if work.name != "cuda" else "a call failed"
        return Finding("error", work.name, f"{what}{figure}{f': {work.detail}' if work.detail else ''}", _BROKEN)
    return Finding("ok", work.name, f"all results right{figure}")


def _meanwhile(burnt: Burnt) -> str:
    told = []
    if burnt.hottest is not None:
        told.append(f"{burnt.hottest} °C")
    if burnt.most_watts is not None:
        told.append(f"{burnt.most_watts:.0f} W")
    return f"at most {', '.join(told)}" if told else ""


def of_change(before: Gpu, after: Gpu | None, xids: Sequence[int]) -> Iterator[Finding]:
    """What happened to a GPU while it worked."""
    if xids:
        numbers = ", ".join(map(str, dict.fromkeys(xids)))
        yield Finding("error", "xid", f"its driver reported XID {numbers} meanwhile", _BROKEN)
    if after is None or after.problem is not None:
        reason = "the driver no longer lists it" if after is None or after.problem is None else after.problem.summary
        yield Finding("error", "driver", f"after its work: {reason}", _BROKEN)
    elif before.vitals is not None and after.vitals is not None:
        errors = (after.vitals.ecc_volatile or 0) - (before.vitals.ecc_volatile or 0)
        if errors > 0:
            yield Finding("error", "ecc", f"{errors} uncorrectable memory errors meanwhile", _BROKEN)
        if after.vitals.recovery_action and not before.vitals.recovery_action:
            yield Finding("error", "recovery", "since its work its driver asks for a reset", _BROKEN)


def of_company(gpus: Sequence[Gpu], burnt: Mapping[str, Burnt]) -> dict[str, Finding]:
    """Which GPUs are slower than those of their kind in the same machine, by uuid."""
    slow: dict[str, Finding] = {}
    for name in dict.fromkeys(gpu.name for gpu in gpus):
        kind = [(gpu.uuid, burnt[gpu.uuid]) for gpu in gpus if gpu.name == name and gpu.uuid in burnt]
        for uuid, figures in slowest(kind, _SLOW).items():
            text = f"slower than the others of its kind here: {'; '.join(figures)}"
            slow[uuid] = Finding("warn", "slow", text, "compare clocks and power limits in 'nvidia-smi -q'; cooling")
    return slow


def failed(findings: Sequence[Finding]) -> str:
    """Why a GPU is not fit for work, in one line; empty: it is."""
    return "; ".join(f"{finding.topic}: {finding.text}" for finding in findings if finding.level == "error")
