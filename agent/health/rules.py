"""What a reading of NVML means. Pure: a GPU as it was read and what is known of it go in, signs come out.

NVML may tell less, by card, driver and container: what it does not tell is no sign, in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.health.model import Sign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.hardware.model import Gpu, Problem, Vitals

# Of NVML's reasons for lower clocks, those by which the hardware protects itself.
_THERMAL, _POWER_BRAKE = 0x40, 0x80
# An idle card lowers its link's generation to save power, and needs a moment under load to raise it again.
_LOADED_PERCENT = 50
_PCIE_READINGS = 2
# New NVLink errors are summed up for so many seconds before they are told again.
_LINK_PAUSE = 600.0

_ACTIONS = {
    1: "reset the GPU",
    2: "reboot the host",
    3: "end all peer-to-peer traffic",
    4: "drain the GPU and reset it",
    5: "recover the IMEX domain",
    6: "reset the GPU's PCIe bus",
    7: "reboot the host",
}
_OFF_THE_BUS = "gpu-lost"
_NEEDS_RESET = "gpu-needs-reset"
# Problems that are the driver's own; others are of the installation, and told as such.
_DRIVER = frozenset({"nvml-hung", "nvml-stuck", "nvml-crashed", "nvml-failed", "driver-version-mismatch", _OFF_THE_BUS})
_NO_DRIVER = frozenset({"driver-not-loaded", "nvml-library-missing", "nvml-no-permission"})


@dataclass(frozen=True, slots=True)
class Seen:
    """A sign that was seen: its code, and what it is in words."""

    sign: Sign
    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of one card: the counters as last told of, and the NVLinks that have been up since the boot.

    ``links_told`` is when its NVLink errors were last told, ``narrow`` how many readings in a row its PCIe link was
    not what it could be; these two last only as long as the agent.
    """

    ecc_volatile: int | None = None
    ecc_aggregate: int | None = None
    retired_pages: int | None = None
    link_errors: tuple[int, ...] = ()
    links: tuple[int, ...] = ()
    links_told: float = float("-inf")
    narrow: int = 0


def watched(gpu: Gpu) -> bool:
    """Whether the essential signs of this GPU can be seen: its XIDs, and any of what it tells when asked."""
    vitals = gpu.vitals
    if gpu.problem is not None or vitals is None:
        return False
    told = (vitals.ecc_volatile, vitals.slowdown, vitals.recovery_action, vitals.remap_pending)
    return vitals.events and any(value is not None for value in told)


def learn(gpu: Gpu, known: Known) -> Known:
    """``known`` after this reading, before anything is told of it."""
    vitals = gpu.vitals
    if vitals is None:
        return known
    up = (number for number, is_up in enumerate(vitals.links or ()) if is_up)
    narrow = known.narrow + 1 if _narrow(gpu, vitals) is not None else 0
    return replace(known, links=tuple(sorted({*known.links, *up})), narrow=narrow)


def holding(gpu: Gpu, known: Known) -> Iterator[Seen]:
    """What is wrong with a GPU now, and will be until it clears; ``known`` has learnt of this reading."""
    yield from _of_problem(gpu.problem)
    if gpu.vitals is None:
        return
    vitals = gpu.vitals
    if vitals.remap_pending:
        yield Seen(Sign.REMAP_PENDING, 0, "rows of its memory are to be remapped at the next reset")
    if vitals.retirement_pending:
        yield Seen(Sign.REMAP_PENDING, 0, "pages of its memory are to be retired at the next reboot")
    if vitals.remap_failed:
        yield Seen(Sign.REMAP_FAILED, 0, "a row of its memory could not be remapped: there are no spare ones left")
    if vitals.recovery_action:
        action = _ACTIONS.get(vitals.recovery_action, f"do what NVML calls action {vitals.recovery_action}")
        yield Seen(Sign.RECOVERY_ACTION, vitals.recovery_action, f"its driver asks to {action}")
    yield from _slowed(vitals.slowdown or 0)
    if known.narrow >= _PCIE_READINGS and (narrow := _narrow(gpu, vitals)) is not None:
        yield narrow
    if vitals.links is not None:
        down = (link for link in known.links if link >= len(vitals.links) or not vitals.links[link])
        yield from (Seen(Sign.NVLINK_ERRORS, link, f"NVLink {link} was up and is down") for link in down)


def news(gpu: Gpu, known: Known, now: float) -> tuple[tuple[Seen, ...], Known]:
    """What has happened since ``known``, and what is known then. Counters that begin anew (a reset, a new driver) are
    taken as they are; of a card that was never seen, errors since the driver was loaded count, those of its life not.
    """
    vitals = gpu.vitals
    if vitals is None:
        return (), known
    ecc, counted = _new_ecc(vitals, known)
    links, counted = _new_link_errors(vitals, counted, now)
    return tuple(seen for seen in (ecc, links) if seen is not None), counted


def driver_problem(problem: Problem | None, had_gpus: bool) -> Seen | None:
    """What a problem of the driver as a whole says; where no GPU was ever seen, no driver is no fault."""
    if problem is None or not (problem.code in _DRIVER or (had_gpus and problem.code in _NO_DRIVER)):
        return None
    return Seen(Sign.DRIVER, 0, problem.summary)


def _of_problem(problem: Problem | None) -> Iterator[Seen]:
    if problem is None:
        return
    if problem.code == _OFF_THE_BUS:
        yield Seen(Sign.OFF_THE_BUS, 0, problem.summary)
    elif problem.code == _NEEDS_RESET:
        yield Seen(Sign.RECOVERY_ACTION, 1, problem.summary)
    elif problem.code in _DRIVER:
        yield Seen(Sign.DRIVER, 0, problem.summary)


def _slowed(reasons: int) -> Iterator[Seen]:
    if reasons & _THERMAL:
        yield Seen(Sign.THERMAL_SLOWDOWN, 0, "the hardware halves its clocks or worse, because it is too hot")
    if reasons & _POWER_BRAKE:
        yield Seen(Sign.POWER_BRAKE, 0, "the hardware halves its clocks or worse, at a signal of the power supply")


def _narrow(gpu: Gpu, vitals: Vitals) -> Seen | None:
    width, widest = vitals.pcie_width, vitals.pcie_max_width
    if width and widest and width < widest:
        return Seen(Sign.PCIE_WIDTH, width, f"its PCIe link has {width} lanes of {widest}")
    generation, newest = vitals.pcie_generation, vitals.pcie_max_generation
    if generation and newest and generation < newest and (gpu.utilization_percent or 0) >= _LOADED_PERCENT:
        return Seen(
            Sign.PCIE_WIDTH, width or 0, f"its PCIe link is of generation {generation} under load, not {newest}"
        )
    return None


def _new_ecc(vitals: Vitals, known: Known) -> tuple[Seen | None, Known]:
    fresh = _grown(vitals.ecc_volatile, known.ecc_volatile if known.ecc_volatile is not None else 0)
    lasting = _grown(vitals.ecc_aggregate, known.ecc_aggregate)
    pages = _grown(vitals.retired_pages, known.retired_pages)
    counted = replace(
        known,
        ecc_volatile=_newest(vitals.ecc_volatile, known.ecc_volatile),
        ecc_aggregate=_newest(vitals.ecc_aggregate, known.ecc_aggregate),
        retired_pages=_newest(vitals.retired_pages, known.retired_pages),
    )
    total = vitals.ecc_volatile if vitals.ecc_volatile is not None else vitals.ecc_aggregate or 0
    if errors := max(fresh, lasting):
        detail = f"{_counted(errors, 'new uncorrectable memory error')}, {vitals.ecc_aggregate or total} in its life"
        return Seen(Sign.ECC_UNCORRECTABLE, total, detail), counted
    if pages:
        detail = f"{_counted(pages, 'page')} of its memory retired for double-bit errors, {vitals.retired_pages} in all"
        return Seen(Sign.ECC_UNCORRECTABLE, total, detail), counted
    return None, counted


def _new_link_errors(vitals: Vitals, known: Known, now: float) -> tuple[Seen | None, Known]:
    told = vitals.link_errors
    if told is None:
        return None, known
    if len(told) != len(known.link_errors) or any(a < b for a, b in zip(told, known.link_errors, strict=True)):
        return None, replace(known, link_errors=told)
    grown = [a - b for a, b in zip(told, known.link_errors, strict=True)]
    if not any(grown) or now - known.links_told < _LINK_PAUSE:
        return None, known
    worst = max(range(len(grown)), key=grown.__getitem__)
    detail = ", ".join(f"{errors} on NVLink {link}" for link, errors in enumerate(grown) if errors)
    seen = Seen(Sign.NVLINK_ERRORS, worst, f"new replays and recoveries: {detail}")
    return seen, replace(known, link_errors=told, links_told=now)


def _grown(told: int | None, known: int | None) -> int:
    return max(0, told - known) if told is not None and known is not None else 0


def _newest(told: int | None, known: int | None) -> int | None:
    return known if told is None else told


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
