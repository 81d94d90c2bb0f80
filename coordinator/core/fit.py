"""Filters that check and explain: whether a host could give a node what it asks, and if not, why, with the numbers.

Each filter answers None or the reason. ``ever`` filters look at the host as if it were idle; ``now`` adds what is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from coordinator.core.costs import rate
from coordinator.core.ids import allocation_id
from coordinator.core.model import Allocation, Gpu, Hardware, Host, HostState, Job, Phase
from coordinator.core.spec import GpuRequest, Range, Resources
from coordinator.core.usage import Usage

GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """What one node holds of a host: the lower end of each range it asked for."""

    cpus: int
    memory_bytes: int
    gpus: int
    resources: Resources

    @classmethod
    def of(cls, resources: Resources) -> Need:
        """The need of a node with these resources."""
        gpus = 0 if resources.gpu is None else _low(resources.gpu.count, 1)
        return cls(_low(resources.cpus, 1), _low(resources.memory_bytes, 0), gpus, resources)


@dataclass(frozen=True, slots=True)
class Held:
    """Resources picked on one host for one node; of each of its GPUs the part ``share``."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]
    share: float = 1.0


def unusable(host: Host) -> str | None:
    """Why no work at all may be placed on the host now; None when it may."""
    if host.hardware is None:
        return "its agent has not called yet"
    if host.cordoned:
        return "it is cordoned; 'coordinator host resume' lets work in again"
    if host.state is not HostState.ONLINE:
        return f"it is {host.state.value}"
    if host.hardware.disk_problem:
        return f"{host.hardware.disk_problem}; free some"
    return host.drained or None


def never(host: Host, need: Need) -> str | None:
    """Why the host could not hold the node even when idle; None when it could."""
    if host.hardware is None:
        return "its agent has not called yet"
    for check in (_arch, _cpus, _memory, _disk, _gpus):
        reason = check(host.hardware, need)
        if reason is not None:
            return reason
    return None


@dataclass(frozen=True, slots=True)
class Match:
    """How hardware answers a need: ``never`` is why it could not hold the node even when idle.

    ``gpus`` are the places, among the hardware's, of the GPUs that match; ``alike`` is whether any of them will do.
    """

    never: str | None
    gpus: tuple[int, ...] = ()
    alike: bool = True


def match(host: Host, need: Need) -> Match:
    """How the host's hardware answers the need. Hosts of one ``shape`` have one answer."""
    reason = never(host, need)
    if reason is not None or not need.gpus:
        return Match(reason)
    assert host.hardware is not None
    cards, wanted = host.hardware.gpus, need.resources.gpu
    places = tuple(place for place, gpu in enumerate(cards) if gpu_mismatch(gpu, wanted) is None)
    models = {(cards[place].name, cards[place].memory_bytes) for place in places}
    alike = len(models) == 1 and wanted is not None and wanted.total_memory_bytes == Range()
    return Match(None, places, alike)


def shape(hardware: Hardware) -> tuple[object, ...]:
    """All of the hardware that ``match`` looks at; equal for hosts that need be looked at only once."""
    cards = tuple(
        (gpu.index, gpu.name, gpu.vendor, gpu.memory_bytes, gpu.compute_capability, gpu.problem)
        for gpu in hardware.gpus
    )
    disk = max((disk.total_bytes for disk in hardware.disks), default=0)
    return (hardware.arch, hardware.cpus, hardware.memory_bytes, disk, cards, hardware.gpu_problem)


def has_room(hardware: Hardware, usage: Usage, need: Need, found: Match) -> bool:
    """Whether one more such node can be held beside what is held. ``found`` is how the hardware matches."""
    if need.cpus > hardware.cpus - usage.cpus or need.memory_bytes > hardware.memory_bytes - usage.memory_bytes:
        return False
    if not need.gpus:
        return True
    if not found.alike:
        return pick_gpus(_idle(hardware, usage, found), need.resources.gpu) is not None
    if not usage.gpus:
        return len(found.gpus) >= need.gpus
    cards, taken = hardware.gpus, usage.gpus
    return sum(cards[place].uuid not in taken for place in found.gpus) >= need.gpus


def pick(hardware: Hardware, usage: Usage, need: Need, found: Match) -> Held | None:
    """Pick the resources for one node; None when they are not free."""
    if not has_room(hardware, usage, need, found):
        return None
    if not need.gpus:
        return Held(need.cpus, need.memory_bytes, ())
    idle = _idle(hardware, usage, found)
    picked = idle[: need.gpus] if found.alike else pick_gpus(idle, need.resources.gpu) or ()
    return Held(need.cpus, need.memory_bytes, tuple(gpu.uuid for gpu in picked), _share(need))


def _idle(hardware: Hardware, usage: Usage, found: Match) -> list[Gpu]:
    cards, taken = hardware.gpus, usage.gpus
    return [cards[place] for place in found.gpus if cards[place].uuid not in taken]


def not_now(host: Host, usage: Usage, need: Need) -> str | None:
    """Why the host can't hold one more such node beside what it holds; None when it can. Presumes ``never`` is None."""
    hardware = host.hardware
    assert hardware is not None
    if need.cpus > hardware.cpus - usage.cpus:
        return f"needs {_count(need.cpus, 'CPU')}, {max(0, hardware.cpus - usage.cpus)} of {hardware.cpus} are free"
    free = hardware.memory_bytes - usage.memory_bytes
    if need.memory_bytes > free:
        return f"needs {_gb(need.memory_bytes)} of memory, {_gb(free)} of {_gb(hardware.memory_bytes)} are free"
    if need.gpus:
        matching = matching_gpus(hardware.gpus, need.resources.gpu)
        idle = [gpu for gpu in matching if gpu.uuid not in usage.gpus]
        if pick_gpus(idle, need.resources.gpu) is None:
            return f"needs {_count(need.gpus, 'GPU')}, {len(idle)} of {len(matching)} that match are free"
    return None


def room(host: Host, usage: Usage, need: Need, limit: int) -> int:
    """How many such nodes the host can hold beside what it holds, at most ``limit``. Presumes ``never`` is None."""
    hardware = host.hardware
    assert hardware is not None
    count = min(limit, max(0, (hardware.cpus - usage.cpus) // need.cpus)) if need.cpus else limit
    if need.memory_bytes:
        count = min(count, max(0, (hardware.memory_bytes - usage.memory_bytes) // need.memory_bytes))
    if need.gpus and count > 0:
        idle = [gpu for gpu in matching_gpus(hardware.gpus, need.resources.gpu) if gpu.uuid not in usage.gpus]
        count = min(count, _gpu_room(idle, need))
    return count


def hold(host: Host, usage: Usage, need: Need) -> Held | None:
    """Pick the resources for one node; None when they are not free. Presumes ``never`` is None."""
    assert host.hardware is not None
    return pick(host.hardware, usage, need, match(host, need))


def _share(need: Need) -> float:
    """The part of each of its GPUs that a node holds."""
    share = None if need.resources.gpu is None else need.resources.gpu.share
    return 1.0 if share is None else share[0] / share[1]


def allocation(job: Job, rank: int, attempt: int, host: Host, held: Held, wanted: Phase, served: float) -> Allocation:
    """What was picked on the host, held for one attempt of a node (or a spare) from the moment ``served`` on.

    Its price is that of now: what the host's owner states later is for what is held later.
    """
    return Allocation(
        id=allocation_id(job.id, rank, attempt),
        job_id=job.id,
        rank=rank,
        attempt=attempt,
        host_id=host.id,
        cpus=held.cpus,
        memory_bytes=held.memory_bytes,
        gpus=held.gpus,
        wanted=wanted,
        share=held.share,
        price=rate(host, held.cpus, held.memory_bytes, len(held.gpus), held.share),
        held_since=served,
    )


# ---------------------------------------------------------------- GPUs


def matching_gpus(gpus: Iterable[Gpu], wanted: GpuRequest | None) -> list[Gpu]:
    """The GPUs that one by one are what is asked for. An unknown value never matches a stated bound."""
    return [gpu for gpu in gpus if gpu_mismatch(gpu, wanted) is None]


def gpu_mismatch(gpu: Gpu, wanted: GpuRequest | None) -> str | None:
    """Why one GPU is not what is asked for; None when it is."""
    if wanted is None:
        return None
    if gpu.problem:
        return gpu.problem
    if gpu.parent and _low(wanted.count, 1) > 1:
        return "is a MIG instance, of which a program can use only one at a time"
    if wanted.vendor and gpu.vendor != wanted.vendor:
        return f"is by {gpu.vendor}, not {wanted.vendor}"
    if wanted.names and not any(gpu_is(gpu.name, name) for name in wanted.names):
        return f"is {gpu.name}, not {' or '.join(wanted.names)}"
    if wanted.memory_bytes != Range():
        if gpu.memory_bytes is None:
            return "does not tell its memory"
        if not _about_in(gpu.memory_bytes, wanted.memory_bytes):
            return f"has {_gb(gpu.memory_bytes)} of memory, not {_gb_range(wanted.memory_bytes).text('GB')}"
    if wanted.min_compute_capability is not None:
        if gpu.compute_capability is None:
            return "does not tell its compute capability"
        if gpu.compute_capability < wanted.min_compute_capability:
            have, want = (".".join(map(str, c)) for c in (gpu.compute_capability, wanted.min_compute_capability))
            return f"has compute capability {have}, not {want} or more"
    return None


@lru_cache(maxsize=4096)
def gpu_is(full_name: str, wanted: str) -> bool:
    """Whether ``NVIDIA GeForce RTX 4090`` is the ``RTX4090`` that was asked for.

    The wanted name must be a run of whole words of the full name, compared without case, blanks and dashes, so that
    ``L4`` is not ``L40S``.
    """
    words = re.findall(r"[A-Z0-9]+", full_name.upper())
    target = "".join(re.findall(r"[A-Z0-9]+", wanted.upper()))
    return any("".join(words[i:j]) == target for i in range(len(words)) for j in range(i + 1, len(words) + 1))


def pick_gpus(idle: list[Gpu], wanted: GpuRequest | None) -> tuple[Gpu, ...] | None:
    """The GPUs to hold of those that match: of one model if that is possible, else mixed; None when too few."""
    if wanted is None:
        return ()
    least = _low(wanted.count, 1)
    by_model: dict[tuple[str, int | None], list[Gpu]] = {}
    for gpu in idle:
        by_model.setdefault((gpu.name, gpu.memory_bytes), []).append(gpu)
    # The model with the fewest idle GPUs that is enough: leave the larger sets whole for larger requests.
    for candidates in [*sorted(by_model.values(), key=len), idle]:
        most = len(candidates) if wanted.count.max is None else min(len(candidates), wanted.count.max)
        # As few as will do: only memory asked for over all GPUs takes more than the least.
        for count in range(least, most + 1):
            picked = tuple(candidates[:count])
            if _total_fits(picked, wanted.total_memory_bytes):
                return picked
    return None


def _total_fits(gpus: tuple[Gpu, ...], total: Range) -> bool:
    if total == Range():
        return True
    if any(gpu.memory_bytes is None for gpu in gpus):
        return False
    return _about_in(sum(gpu.memory_bytes or 0 for gpu in gpus), total)


def _gpu_room(idle: list[Gpu], need: Need) -> int:
    count, left = 0, list(idle)
    while (picked := pick_gpus(left, need.resources.gpu)) is not None and picked:
        count += 1
        taken = {gpu.uuid for gpu in picked}
        left = [gpu for gpu in left if gpu.uuid not in taken]
    return count


# ---------------------------------------------------------------- filters of an idle host


def _arch(hardware: Hardware, need: Need) -> str | None:
    wanted = need.resources.cpu_arch
    if wanted is None:
        return None
    have = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}.get(hardware.arch, hardware.arch)
    return None if have == wanted else f"needs a CPU of {wanted}, has {have}"


def _cpus(hardware: Hardware, need: Need) -> str | None:
    return None if need.cpus <= hardware.cpus else f"needs {_count(need.cpus, 'CPU')}, has {hardware.cpus}"


def _memory(hardware: Hardware, need: Need) -> str | None:
    # Machines sold as "16 GB" show a little less: what the firmware and the kernel keep is not held against them.
    if need.memory_bytes <= hardware.memory_bytes * 1.05:
        return None
    return f"needs {_gb(need.memory_bytes)} of memory, has {_gb(hardware.memory_bytes)}"


def _disk(hardware: Hardware, need: Need) -> str | None:
    wanted = _low(need.resources.disk_bytes, 0)
    largest = max((disk.total_bytes for disk in hardware.disks), default=0)
    return None if wanted <= largest else f"needs {_gb(wanted)} of disk, has {_gb(largest)}"


def _gpus(hardware: Hardware, need: Need) -> str | None:
    wanted = need.resources.gpu
    if not need.gpus or wanted is None:
        return None
    matching = matching_gpus(hardware.gpus, wanted)
    if pick_gpus(matching, wanted) is not None:
        return None
    if not hardware.gpus:
        kind = f" ({' or '.join(wanted.names)})" if wanted.names else ""
        return f"needs {_count(need.gpus, 'GPU')}{kind}, has none" + _because(hardware.gpu_problem)
    if len(matching) >= need.gpus:
        return f"needs {wanted.total_memory_bytes.text()} bytes of GPU memory in all, its GPUs have less or more"
    why = sorted({f"GPU {gpu.index} {reason}" for gpu in hardware.gpus if (reason := gpu_mismatch(gpu, wanted))})
    return f"needs {_count(need.gpus, 'GPU')}, {len(matching)} match" + _because("; ".join(why[:3]))


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def _low(bounds: Range, default: int) -> int:
    return default if bounds.min is None else bounds.min


# A card shows less or a little more than the gigabytes it is sold by, which are what users write: an L4 of "24 GB"
# has 22.5 GiB, a T4 of "16 GB" 15.0, an A10G of "24 GB" 22.1, an H200 of "141 GB" 140.4, an H100 of "80 GB" up to 81.6.
_SHOWN_AT_LEAST, _SHOWN_AT_MOST = 0.91, 1.03


def _about_in(size: int, bounds: Range) -> bool:
    low = bounds.min is None or size >= bounds.min * _SHOWN_AT_LEAST
    return low and (bounds.max is None or size <= bounds.max * _SHOWN_AT_MOST)


def _gb_range(bounds: Range) -> Range:
    low, high = (None if end is None else round(end / GB) for end in (bounds.min, bounds.max))
    return Range(low, high)


def _gb(size: int) -> str:
    return f"{size / GB:.3g} GB"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
