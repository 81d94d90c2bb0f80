"""What would make a host fit that does not: the other half of every refusal.

A remedy is named only if it is enough: where several things are in the way all of them are named, and nothing is said
where one of them has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from coordinator.core import fit, needs, runtimes
from coordinator.core.costs import rate
from coordinator.core.gpus import in_gb
from coordinator.core.hardware import Hardware
from coordinator.core.model import Host, HostState
from coordinator.core.runtimes import PLAIN
from coordinator.core.spec import JobSpec, Range, SpotPolicy
from coordinator.core.state import State
from coordinator.core.usage import Usage
from coordinator.core.where import Where

# Kinds of things that are in the way, what passes by itself first.
_ROOM, _CLOSED, _AWAY, _WANTED, _ASKED = range(5)


@dataclass(frozen=True, slots=True, order=True)
class Remedy:
    """``words`` go on from "would fit"; ``kind`` and ``size`` say how far the host is from fitting."""

    kind: int
    size: float
    words: str


def of_host(state: State, host: Host, spec: JobSpec) -> Remedy | None:
    """What would make the host fit a node of the job, of any kind or variant; None when it fits, or nothing would."""
    found: list[Remedy] = []
    for need in needs.all_needs(spec):
        parts = list(_parts(state, host, need))
        if not parts:
            return None
        if all(part.words for part in parts):
            words = " and ".join(part.words for part in parts)
            found.append(Remedy(max(part.kind for part in parts), sum(part.size for part in parts), words))
    return min(found, default=None)


def nearest(state: State, spec: JobSpec) -> str:
    """Which host comes closest to taking a node, and what would make it fit; empty when one does, or none could."""
    best: tuple[Remedy, str] | None = None
    for host in state.hosts.values():
        if any(not list(_parts(state, host, need)) for need in needs.all_needs(spec)):
            return ""
        remedy = of_host(state, host, spec)
        if remedy is not None and (best is None or (remedy, host.name) < best):
            best = (remedy, host.name)
    return "" if best is None else f"{best[1]} would fit {best[0].words}"


def _parts(state: State, host: Host, need: fit.Need) -> Iterator[Remedy]:
    """Everything that is in the way, each with its remedy; one without words has none."""
    if host.hardware is None:
        yield Remedy(_AWAY, 0.0, "once its agent has called")
        return
    if fit.refuses(host, need) is not None:
        yield _other_filter(host, need)
    if fit.match(host.hardware, need).never is not None:
        yield _smaller(host.hardware, need)
    elif fit.not_now(host, state.usage[host.id], need) is not None:
        yield _more_room(host.hardware, state.usage[host.id], need)
    if fit.unusable(host) is not None:
        yield _open(host)


def _open(host: Host) -> Remedy:
    opened = replace(host, cordoned=False, vacate_at=0.0)
    if fit.unusable(opened) is None:
        return Remedy(_CLOSED, 0.0, f"if host {host.name} were resumed")
    if host.state is not HostState.ONLINE and fit.unusable(replace(host, state=HostState.ONLINE)) is None:
        return Remedy(_AWAY, 0.0, f"once host {host.name} is back in contact")
    return Remedy(_AWAY, 1.0, "")


def _more_room(hardware: Hardware, usage: Usage, need: fit.Need) -> Remedy:
    """What more has to be free than is."""
    cpus = need.cpus - (hardware.cpus - usage.cpus)
    memory = need.memory_bytes - (hardware.memory_bytes - usage.memory_bytes)
    gpus = 0
    if need.gpus and need.share == 1.0:
        places = fit.match(hardware, need).gpus
        gpus = need.gpus - sum(hardware.gpus[place].uuid not in usage.gpus for place in places)
    missing = [
        (f"{cpus} CPU{'' if cpus == 1 else 's'}", cpus, hardware.cpus),
        (f"{in_gb(memory)} of memory", memory, hardware.memory_bytes),
        (f"{gpus} GPU{'' if gpus == 1 else 's'}", gpus, len(hardware.gpus)),
    ]
    words = [text for text, lacks, _ in missing if lacks > 0]
    size = sum(lacks / total for _, lacks, total in missing if lacks > 0)
    if need.gpus and need.share < 1.0:
        if not words:
            return Remedy(_ROOM, need.share, f"with {need.share:.0%} of one GPU free")
        return Remedy(_ROOM, 1.0, "")
    return Remedy(_ROOM, size, f"with {' and '.join(words)} more free" if words else "")


def _smaller(hardware: Hardware, need: fit.Need) -> Remedy:
    """The one thing of which the job could ask for less, or that the host's owner could add."""
    if need.runs is not PLAIN and fit.match(hardware, replace(need, runs=PLAIN)).never is None:
        return Remedy(_ASKED, 0.5, runtimes.remedy(hardware, need.runs))
    resources, gpu = need.resources, need.resources.gpu
    ways: list[tuple[str, fit.Need]] = []
    if need.cpus > hardware.cpus > 0:
        ways.append((f"{hardware.cpus} CPUs", replace(need, cpus=hardware.cpus)))
    if need.memory_bytes > hardware.memory_bytes > 0:
        ways.append((f"{in_gb(hardware.memory_bytes)} of memory", replace(need, memory_bytes=hardware.memory_bytes)))
    for count in range(need.gpus - 1, 0, -1):
        assert gpu is not None
        asked = replace(resources, gpu=replace(gpu, count=Range(count, count)))
        ways.append((f"{count} GPU{'' if count == 1 else 's'}", replace(need, gpus=count, resources=asked)))
    for words, less in ways:
        if fit.match(hardware, less).never is None:
            return Remedy(_ASKED, 0.0, f"if a node asked for {words}")
    return Remedy(_ASKED, 1.0, "")


def _other_filter(host: Host, need: fit.Need) -> Remedy:
    """The one filter that would have to admit the host."""
    where, facts = need.where, host.facts
    usd = rate(host, need.cpus, need.memory_bytes, need.gpus, need.share)
    ways: tuple[tuple[str, Where], ...] = (
        (f"if max_price were {_up_to_cents(usd)}", replace(where, max_price=None)),
        (f"if spot_policy were {SpotPolicy.AUTO.value}", replace(where, spot=SpotPolicy.AUTO)),
        (f"if backends had {facts.backend}", replace(where, backends=())),
        (f"if regions had {facts.region}", replace(where, regions=())),
        (f"if instance_types had {facts.instance_type or 'its'}", replace(where, instance_types=())),
        (f"if fleets had {facts.fleet or 'its'}", replace(where, fleets=())),
        (f"if hosts had {host.name}", replace(where, hosts=())),
        ("if no label were asked for", replace(where, labels=())),
        ("if no user were asked for", replace(where, user="")),
    )
    for words, wider in ways:
        if wider.refuses(host, usd) is None:
            return Remedy(_WANTED, usd / where.max_price if where.max_price else 0.0, words)
    return Remedy(_WANTED, 1.0, "")


def _up_to_cents(usd: float) -> str:
    """Rounded up, for less would not do: ``2.10``."""
    cents = -int(-usd * 10000 // 1) / 100
    return f"{-(-cents // 1) / 100:.2f}"
