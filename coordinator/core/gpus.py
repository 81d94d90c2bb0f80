"""The GPUs of a host: which of them are what is asked for, and which of those to take. MIG instances are GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from coordinator.core.hardware import Gpu
from coordinator.core.spec import GpuRequest, Range

GB = 1 << 30


def least_of(wanted: GpuRequest) -> int:
    """How many GPUs a node holds at least."""
    return 1 if wanted.count.min is None else wanted.count.min


def matching_gpus(gpus: Iterable[Gpu], wanted: GpuRequest | None) -> list[Gpu]:
    """The GPUs that one by one are what is asked for. An unknown value never matches a stated bound."""
    return [gpu for gpu in gpus if gpu_mismatch(gpu, wanted) is None]


def gpu_mismatch(gpu: Gpu, wanted: GpuRequest | None) -> str | None:
    """Why one GPU is not what is asked for; None when it is."""
    if wanted is None:
        return None
    if gpu.problem or gpu.fenced:
        return gpu.problem or gpu.fenced
    if gpu.parent and least_of(wanted) > 1:
        return "is a MIG instance, of which a program can use only one at a time"
    if wanted.vendor and gpu.vendor != wanted.vendor:
        return f"is by {gpu.vendor}, not {wanted.vendor}"
    if wanted.names and not any(gpu_is(gpu.name, name) for name in wanted.names):
        return f"is {gpu.name}, not {' or '.join(wanted.names)}"
    if wanted.memory_bytes != Range():
        if gpu.memory_bytes is None:
            return "does not tell its memory"
        if not _about_in(gpu.memory_bytes, wanted.memory_bytes):
            return f"has {in_gb(gpu.memory_bytes)} of memory, not {_gb_range(wanted.memory_bytes).text('GB')}"
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
    least = least_of(wanted)
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


# A card shows less or a little more than the gigabytes it is sold by, which are what users write: an L4 of "24 GB"
# has 22.5 GiB, a T4 of "16 GB" 15.0, an A10G of "24 GB" 22.1, an H200 of "141 GB" 140.4, an H100 of "80 GB" up to 81.6.
_SHOWN_AT_LEAST, _SHOWN_AT_MOST = 0.91, 1.03


def _about_in(size: int, bounds: Range) -> bool:
    low = bounds.min is None or size >= bounds.min * _SHOWN_AT_LEAST
    return low and (bounds.max is None or size <= bounds.max * _SHOWN_AT_MOST)


def _gb_range(bounds: Range) -> Range:
    low, high = (None if end is None else round(end / GB) for end in (bounds.min, bounds.max))
    return Range(low, high)


def in_gb(size: int) -> str:
    """A size in bytes as people say it."""
    amount = size / GB
    return f"{amount:.3g} GB" if amount < 999.5 else f"{amount:.0f} GB"
