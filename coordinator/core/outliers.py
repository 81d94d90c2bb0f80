"""What is slow in a group, by robust statistics over what its members measured, and by the limits that its job gives.

The measure of a group is the median of its members' *best* figures: with three members one slow host makes two of
three links slow, and no median of links would see it. Slow is what is far from that on the scale of the figures
themselves (a factor), and farther than what members differ by anyway (``SPREAD`` deviations, from the median absolute
deviation of their logarithms). Where half of a group is unlike the other half nothing is an outlier: such a group is
mixed, and only limits can say more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median

from coordinator.core.measured import Device, Link
from coordinator.core.spec import PreflightPolicy
from coordinator.core.words import bits, floating, milliseconds

# A link is slow below half of the group's measure, and far above three times its latency; half a millisecond more is
# what a busy host adds.
BANDWIDTH_FACTOR = 2.0
LATENCY_FACTOR = 3.0
LATENCY_SLACK = 0.0005
# GPUs of one model agree within a tenth. What is no GPU is shared with whatever else runs on the host.
GPU_FACTOR = 1.25
CPU_FACTOR = 2.5
SPREAD = 3.0
# So many members, or devices, can be compared.
COMPARABLE = 3
# From the median absolute deviation to the standard deviation of a normal distribution.
_NORMAL = 1.4826


@dataclass(frozen=True, slots=True)
class Findings:
    """``slow`` in words, ``blamed`` hosts by name, and whether a limit of the job's own is broken (``limit``)."""

    slow: tuple[str, ...]
    blamed: tuple[str, ...]
    limit: bool
    bandwidth: float | None
    latency: float | None


@dataclass(frozen=True, slots=True)
class _Reference:
    """The middle of the members' best figures, and how far from it a figure must be, as a factor."""

    middle: float
    spread: float

    def far_below(self, value: float, factor: float) -> bool:
        return value * max(factor, self.spread) < self.middle

    def far_above(self, value: float, factor: float) -> bool:
        return value > self.middle * max(factor, self.spread)


def findings(
    members: Sequence[str], links: Sequence[Link], devices: Sequence[Device], policy: PreflightPolicy
) -> Findings:
    """What is slow among ``members`` (names of hosts in rank order), the worst first."""
    judged = _Links(links, policy)
    devices_found = [found for group in _alike(devices) for found in _slow_devices(group)]
    blamed = _blamed(members, judged.slow, links, [host for host, _ in devices_found])
    words = [judged.words(link) for link in judged.slow] + [words for _, words in devices_found]
    return Findings(tuple(words), blamed, judged.limit, judged.middle("bandwidth"), judged.middle("latency"))


class _Links:
    """The links of a group, judged."""

    def __init__(self, links: Sequence[Link], policy: PreflightPolicy) -> None:
        self._policy = policy
        self._bandwidth = _reference(_best(((link, link.bandwidth) for link in links), max))
        self._latency = _reference(_best(((link, link.latency) for link in links), min))
        # Of two members there is no third that would say what is usual.
        self._compares = len({host for link in links for host in (link.source, link.target)}) >= COMPARABLE
        self.slow = sorted((link for link in links if self._is_slow(link)), key=worst_first)
        self.limit = any(self._breaks_limit(link) for link in links)

    def middle(self, what: str) -> float | None:
        reference = self._bandwidth if what == "bandwidth" else self._latency
        return None if reference is None else reference.middle

    def words(self, link: Link) -> str:
        """``gpu-3 -> gpu-7: 0.9 Gbit/s, the median is 9.4 Gbit/s``."""
        said = [link.problem] if link.problem else []
        if self._thin(link):
            said.append(f"{bits(link.bandwidth or 0.0)}, {self._against('bandwidth')}")
        if self._long(link):
            said.append(f"{milliseconds(link.latency or 0.0)} there and back, {self._against('latency')}")
        return f"{link.source} -> {link.target}: {'; '.join(said)}"

    def _against(self, what: str) -> str:
        middle, show = self.middle(what), bits if what == "bandwidth" else milliseconds
        limit = self._policy.min_bandwidth if what == "bandwidth" else self._policy.max_latency
        asked = "" if limit is None else f", {show(limit)} is asked for"
        return f"the median is {show(middle or 0.0)}{asked}"

    def _is_slow(self, link: Link) -> bool:
        return bool(link.problem) or self._thin(link) or self._long(link)

    def _breaks_limit(self, link: Link) -> bool:
        wants = self._policy.min_bandwidth is not None or self._policy.max_latency is not None
        return self._below(link) or self._above(link) or (wants and bool(link.problem))

    def _below(self, link: Link) -> bool:
        limit = self._policy.min_bandwidth
        return limit is not None and link.bandwidth is not None and link.bandwidth < limit

    def _above(self, link: Link) -> bool:
        limit = self._policy.max_latency
        return limit is not None and link.latency is not None and link.latency > limit

    def _thin(self, link: Link) -> bool:
        if link.bandwidth is None or self._bandwidth is None:
            return False
        far = self._compares and self._bandwidth.far_below(link.bandwidth, BANDWIDTH_FACTOR)
        return self._below(link) or far

    def _long(self, link: Link) -> bool:
        if link.latency is None or self._latency is None:
            return False
        above = self._compares and link.latency > self._latency.middle + LATENCY_SLACK
        return self._above(link) or (above and self._latency.far_above(link.latency, LATENCY_FACTOR))


def worst_first(link: Link) -> tuple[float, float, str, str]:
    """Sort key: what carries least, then what takes longest."""
    return (link.bandwidth or 0.0, -(link.latency or 0.0), link.source, link.target)


def _best(figures: Iterable[tuple[Link, float | None]], better: Callable[[float, float], float]) -> list[float]:
    """The best figure of each member."""
    of: dict[str, float] = {}
    for link, value in figures:
        for host in (link.source, link.target):
            if value is not None:
                of[host] = better(value, of.get(host, value))
    return list(of.values())


def _reference(figures: Sequence[float]) -> _Reference | None:
    """None without figures. A member more or less moves neither of the two."""
    logs = [log(figure) for figure in figures if figure > 0]
    if not logs:
        return None
    middle = median(logs)
    return _Reference(exp(middle), exp(SPREAD * _NORMAL * median(abs(each - middle) for each in logs)))


def _alike(devices: Sequence[Device]) -> list[list[Device]]:
    """The devices by model: unlike ones are not compared."""
    models: dict[tuple[bool, str], list[Device]] = {}
    for device in devices:
        models.setdefault((bool(device.gpu), device.name), []).append(device)
    return list(models.values())


def _slow_devices(devices: Sequence[Device]) -> list[tuple[str, str]]:
    """The hosts of those that are slow, and what to say of each."""
    reference = _reference([device.flops for device in devices])
    if reference is None or len(devices) < COMPARABLE:
        return []
    factor = GPU_FACTOR if devices[0].gpu else CPU_FACTOR
    slow = (device for device in devices if reference.far_below(device.flops, factor))
    return [
        (each.host, f"{_name(each)}: {floating(each.flops)}, the median is {floating(reference.middle)}")
        for each in sorted(slow, key=lambda device: device.flops)
    ]


def _name(device: Device) -> str:
    return f"{device.gpu} of {device.host} ({device.name})" if device.gpu else f"the CPU of {device.host}"


def _blamed(
    members: Sequence[str], slow: Sequence[Link], links: Sequence[Link], already: Sequence[str]
) -> tuple[str, ...]:
    """The fewest hosts without which nothing would be slow: whoever has the most slow links, again and again; of two
    alike the one whose links carry less, then the higher rank, for the master is told to the others."""
    blamed = list(dict.fromkeys(already))
    rank = {name: number for number, name in enumerate(members)}
    carried = _carried(links)
    left = [link for link in slow if link.source not in blamed and link.target not in blamed]
    while left:
        counts = Counter(host for link in left for host in (link.source, link.target))
        worst = max(counts, key=lambda host: (counts[host], -carried.get(host, 0.0), rank.get(host, 0)))
        blamed.append(worst)
        left = [link for link in left if worst not in (link.source, link.target)]
    return tuple(sorted(blamed, key=lambda host: rank.get(host, 0)))


def _carried(links: Sequence[Link]) -> Mapping[str, float]:
    """The median of each member's links, in bits a second."""
    of: dict[str, list[float]] = {}
    for link in links:
        for host in (link.source, link.target):
            of.setdefault(host, []).append(link.bandwidth or 0.0)
    return {host: median(figures) for host, figures in of.items()}
