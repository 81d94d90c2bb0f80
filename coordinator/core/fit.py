"""Filters that check and explain: whether a host could give a node what it asks, and if not, why, with the numbers.

Each filter answers None or the reason. ``never`` looks at the host as if it were idle; ``not_now`` adds what is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.core.costs import rate
from coordinator.core.gpus import gpu_mismatch, in_gb, matching_gpus, pick_gpus
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.ids import allocation_id
from coordinator.core.model import Allocation, Host, HostState, Job, Phase
from coordinator.core.runtimes import PLAIN, Runs, lacks
from coordinator.core.spec import Range, Resources
from coordinator.core.usage import Usage
from coordinator.core.where import ANYWHERE, Where


@dataclass(frozen=True, slots=True)
class Need:
    """What one node holds of a host: the lower end of each range it asked for; and which hosts it may use.

    ``share`` is the part that it holds of each of its GPUs, ``runs`` what it runs in.
    """

    cpus: int
    memory_bytes: int
    gpus: int
    resources: Resources
    share: float = 1.0
    where: Where = ANYWHERE
    runs: Runs = PLAIN

    @classmethod
    def of(cls, resources: Resources, where: Where = ANYWHERE, runs: Runs = PLAIN) -> Need:
        """The need of a node with these resources, on the hosts that its job wants."""
        gpu = resources.gpu
        gpus = 0 if gpu is None else _low(gpu.count, 1)
        share = 1.0 if gpu is None or gpu.share is None else gpu.share[0] / gpu.share[1]
        return cls(_low(resources.cpus, 1), _low(resources.memory_bytes, 0), gpus, resources, share, where, runs)


@dataclass(frozen=True, slots=True)
class Held:
    """Resources picked on one host for one node; of each of its GPUs the part ``share``."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Match:
    """How hardware answers a need: ``never`` is why it could not hold the node even when idle.

    ``gpus`` are the places, among the hardware's, of the GPUs that match; ``alike`` is whether any of them will do.
    """

    never: str | None
    gpus: tuple[int, ...] = ()
    alike: bool = True


# ---------------------------------------------------------------- a host as if it were idle


def unusable(host: Host) -> str | None:
    """Why no work at all may be placed on the host now; None when it may."""
    if host.hardware is None:
        return "its agent has not called yet"
    if host.vacate_at:
        return "it is drained; 'coordinator host resume' lets work in again"
    if host.cordoned:
        return "it is cordoned; 'coordinator host resume' lets work in again"
    if host.state is not HostState.ONLINE:
        return f"it is {host.state.value}"
    if host.hardware.disk_problem:
        return f"{host.hardware.disk_problem}; free some"
    return host.drained or host.fenced or None


def never(host: Host, need: Need) -> str | None:
    """Why the host could not hold the node even when idle; None when it could."""
    if host.hardware is None:
        return "its agent has not called yet"
    return refuses(host, need) or _lacks(host.hardware, need)


def refuses(host: Host, need: Need) -> str | None:
    """Why the job does not want this host, whatever its hardware; None when it does."""
    if need.where is ANYWHERE:
        return None
    return need.where.refuses(host, rate(host, need.cpus, need.memory_bytes, need.gpus, need.share))


def failed(host: Host, need: Need) -> tuple[str, ...]:
    """Of every filter that the host fails, even when idle, why; none when it could hold the node."""
    if host.hardware is None:
        return ("its agent has not called yet",)
    price = rate(host, need.cpus, need.memory_bytes, need.gpus, need.share)
    return (*need.where.refusals(host, price), *_all_lacks(host.hardware, need))


def match(hardware: Hardware, need: Need) -> Match:
    """How the hardware answers the need. All of one ``shape`` have one answer."""
    reason = _lacks(hardware, need)
    if reason is not None or not need.gpus:
        return Match(reason)
    cards, wanted = hardware.gpus, need.resources.gpu
    places = tuple(place for place, gpu in enumerate(cards) if gpu_mismatch(gpu, wanted) is None)
    models = {(cards[place].name, cards[place].memory_bytes) for place in places}
    alike = len(models) == 1 and wanted is not None and wanted.total_memory_bytes == Range()
    return Match(None, places, alike)


def shape(hardware: Hardware) -> tuple[object, ...]:
    """All of the hardware that ``match`` looks at; equal for hosts that need be looked at only once."""
    cards = tuple(
        (g.index, g.name, g.vendor, g.memory_bytes, g.compute_capability, g.problem or g.fenced, g.parent is None)
        for g in hardware.gpus
    )
    disk = max((disk.total_bytes for disk in hardware.disks), default=0)
    run_in = (hardware.containers, hardware.uv, hardware.looking)
    return (hardware.arch, hardware.cpus, hardware.memory_bytes, disk, cards, hardware.gpu_problem, run_in)


def _lacks(hardware: Hardware, need: Need) -> str | None:
    return next(_all_lacks(hardware, need), None)


def _all_lacks(hardware: Hardware, need: Need) -> Iterator[str]:
    for check in (_arch, _cpus, _memory, _disk, _gpus, _runtime):
        reason = check(hardware, need)
        if reason is not None:
            yield reason


# ---------------------------------------------------------------- a host with what it holds


def has_room(hardware: Hardware, usage: Usage, need: Need, found: Match) -> bool:
    """Whether one more such node can be held beside what is held. ``found`` is how the hardware matches."""
    if (
        need.cpus > hardware.cpus - usage.cpus
        or _memory_of(hardware, need) > hardware.memory_bytes - usage.memory_bytes
    ):
        return False
    if not need.gpus:
        return True
    if need.share < 1.0:
        return _shared_gpu(hardware, usage, need, found) is not None
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
    memory = _memory_of(hardware, need)
    if not need.gpus:
        return Held(need.cpus, memory, ())
    if need.share < 1.0:
        shared = _shared_gpu(hardware, usage, need, found)
        return None if shared is None else Held(need.cpus, memory, (shared.uuid,), need.share)
    idle = _idle(hardware, usage, found)
    picked = idle[: need.gpus] if found.alike else pick_gpus(idle, need.resources.gpu) or ()
    return Held(need.cpus, memory, tuple(gpu.uuid for gpu in picked))


def hold(host: Host, usage: Usage, need: Need) -> Held | None:
    """Pick the resources for one node; None when they are not free. Presumes ``never`` is None."""
    assert host.hardware is not None
    return pick(host.hardware, usage, need, match(host.hardware, need))


def not_now(host: Host, usage: Usage, need: Need) -> str | None:
    """Why the host can't hold one more such node beside what it holds; None when it can. Presumes ``never`` is None."""
    hardware = host.hardware
    assert hardware is not None
    if need.cpus > hardware.cpus - usage.cpus:
        return f"needs {_count(need.cpus, 'CPU')}, {max(0, hardware.cpus - usage.cpus)} of {hardware.cpus} are free"
    free = hardware.memory_bytes - usage.memory_bytes
    if _memory_of(hardware, need) > free:
        return f"needs {in_gb(need.memory_bytes)} of memory, {in_gb(free)} of {in_gb(hardware.memory_bytes)} are free"
    found = match(hardware, need)
    if has_room(hardware, usage, need, found):
        return None
    if need.share < 1.0:
        most = max((1.0 - usage.shared_of(hardware.gpus[place].uuid) for place in found.gpus), default=0.0)
        return f"needs {need.share:.0%} of a GPU, of the {len(found.gpus)} that match at most {most:.0%} is free"
    idle = len(_idle(hardware, usage, found))
    fenced = "; ".join([f"GPU {gpu.index} {gpu.fenced}" for gpu in hardware.gpus if gpu.fenced][:3])
    return f"needs {_count(need.gpus, 'GPU')}, {idle} of {len(found.gpus)} that match are free" + _because(fenced)


def remedy(host: Host, usage: Usage, need: Need) -> str:
    """What would make the host fit that could hold the node when idle: what else would have to be free there."""
    hardware = host.hardware
    assert hardware is not None
    found = match(hardware, need)
    cpus = need.cpus - (hardware.cpus - usage.cpus)
    memory = _memory_of(hardware, need) - (hardware.memory_bytes - usage.memory_bytes)
    missing = [_count(cpus, "CPU")] if cpus > 0 else []
    missing += [f"{in_gb(memory)} of memory"] if memory > 0 else []
    gpus = need.gpus - len(_idle(hardware, usage, found))
    if need.share < 1.0 and _shared_gpu(hardware, usage, need, found) is None:
        missing.append(f"{need.share:.0%} of a GPU")
    elif need.share == 1.0 and gpus > 0:
        missing.append(_count(gpus, "GPU"))
    return f"with {' and '.join(missing)} more free" if missing else ""


def room(host: Host, usage: Usage, need: Need, limit: int) -> int:
    """How many such nodes the host can hold beside what it holds, at most ``limit``. Presumes ``never`` is None."""
    hardware = host.hardware
    assert hardware is not None
    count = min(limit, max(0, (hardware.cpus - usage.cpus) // need.cpus)) if need.cpus else limit
    memory = _memory_of(hardware, need)
    if memory:
        count = min(count, max(0, (hardware.memory_bytes - usage.memory_bytes) // memory))
    if need.gpus and count > 0:
        count = min(count, _gpu_room(hardware, usage, need))
    return count


def _gpu_room(hardware: Hardware, usage: Usage, need: Need) -> int:
    found = match(hardware, need)
    if need.share < 1.0:
        return sum(usage.shares_free(hardware.gpus[place].uuid, need.share) for place in found.gpus)
    left = _idle(hardware, usage, found)
    if found.alike:
        return len(left) // need.gpus
    count = 0
    while (picked := pick_gpus(left, need.resources.gpu)) is not None and picked:
        count += 1
        taken = {gpu.uuid for gpu in picked}
        left = [gpu for gpu in left if gpu.uuid not in taken]
    return count


def _memory_of(hardware: Hardware, need: Need) -> int:
    """What the node holds of the memory: machines sold as "16 GB" show a little less, and then it is all of it."""
    return min(need.memory_bytes, hardware.memory_bytes)


def _idle(hardware: Hardware, usage: Usage, found: Match) -> list[Gpu]:
    cards, taken = hardware.gpus, usage.gpus
    return [cards[place] for place in found.gpus if cards[place].uuid not in taken]


def _shared_gpu(hardware: Hardware, usage: Usage, need: Need, found: Match) -> Gpu | None:
    """The GPU to share: of those with so much left the one that is held most, so that others stay whole."""
    cards = (hardware.gpus[place] for place in found.gpus)
    able = [gpu for gpu in cards if usage.shares_free(gpu.uuid, need.share)]
    return max(able, key=lambda gpu: usage.shared_of(gpu.uuid), default=None)


def allocation(
    job: Job, rank: int, attempt: int, host: Host, held: Held, wanted: Phase, served: float, variant: str = ""
) -> Allocation:
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
        variant=variant,
    )


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
    return f"needs {in_gb(need.memory_bytes)} of memory, has {in_gb(hardware.memory_bytes)}"


def _disk(hardware: Hardware, need: Need) -> str | None:
    wanted = _low(need.resources.disk_bytes, 0)
    largest = max((disk.total_bytes for disk in hardware.disks), default=0)
    return None if wanted <= largest else f"needs {in_gb(wanted)} of disk, has {in_gb(largest)}"


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


def _runtime(hardware: Hardware, need: Need) -> str | None:
    return None if need.runs is PLAIN else lacks(hardware, need.runs, need.gpus)


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def _low(bounds: Range, default: int) -> int:
    return default if bounds.min is None else bounds.min


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
