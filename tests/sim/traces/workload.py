"""Traces: which jobs come when, how wide they are, how long they take, and how long their users say that they do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

DAY = 86400.0
HOUR = 3600.0
# GPUs in a host of the traces.
GPUS = 8

# Of a hundred jobs so many ask for so many GPUs: most one, hardly any more than a host has.
_WIDTHS = {1: 66, 2: 10, 4: 9, 8: 8, 16: 4, 32: 2, 64: 1}
# Half of the jobs take less than this; wider ones take longer.
_MEDIAN = 12 * 60.0
_SIGMA = 1.7
# Some never seem to end.
_TAIL, _TAIL_ALPHA, _LONGEST = 0.04, 0.9, 2 * DAY
# What users write down, at least what it takes: durations are stated in round numbers, and too high.
_ROUND = [m * 60.0 for m in (5, 10, 15, 30)] + [h * HOUR for h in (1, 2, 4, 8, 12, 24, 48, 96, 240)]
_STATED = 0.7
USERS = 12


@dataclass(frozen=True, slots=True)
class Work:
    """A job of the trace. ``nodes`` of ``gpus`` GPUs each, that start all or none if it is a ``gang``; each runs for
    ``takes`` seconds, and ``stated`` is the most that its user expects (None: nothing is said)."""

    number: int
    at: float
    user: str
    nodes: int
    gpus: int
    gang: bool
    takes: float
    stated: float | None

    @property
    def width(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus


def make(seed: int, jobs: int, hosts: int, load: float, users: int = USERS) -> list[Work]:
    """So many jobs, which ask for ``load`` times what so many hosts could do while they arrive. With no ``users`` each
    job has one of its own: then age decides, and no user's share.
    """
    random = Random(seed)
    shapes = [_shape(random, hosts) for _ in range(jobs)]
    demand = sum(nodes * gpus * takes for nodes, gpus, _, takes, _ in shapes)
    span = demand / (hosts * GPUS * load)
    arrivals = _arrivals(random, jobs, span)
    names = _users(random, jobs, users) if users else [f"user{number}" for number in range(jobs)]
    return [Work(i, arrivals[i], names[i], *shapes[i]) for i in range(jobs)]


def _shape(random: Random, hosts: int) -> tuple[int, int, bool, float, float | None]:
    widest = max(width for width in _WIDTHS if width <= hosts * GPUS // 2)
    width = min(widest, random.choices(list(_WIDTHS), list(_WIDTHS.values()))[0])
    takes = _takes(random, width)
    stated = _stated(random, takes) if random.random() < _STATED else None
    if width > GPUS:
        return width // GPUS, GPUS, True, takes, stated
    if random.random() < 0.04:
        # A search: many nodes of one job, each on its own.
        return random.randint(4, 48), 1, False, takes, stated
    return 1, width, False, takes, stated


def _takes(random: Random, width: int) -> float:
    if random.random() < _TAIL:
        return min(_LONGEST, 2 * HOUR * random.paretovariate(_TAIL_ALPHA))
    return min(_LONGEST, max(10.0, random.lognormvariate(math.log(_MEDIAN * (1.0 + math.log2(width) / 3)), _SIGMA)))


def _stated(random: Random, takes: float) -> float:
    wanted = takes * random.choice((1.0, 1.2, 1.5, 2.0, 4.0, 10.0))
    return next((round_ for round_ in _ROUND if round_ >= wanted), wanted)


def _arrivals(random: Random, jobs: int, span: float) -> list[float]:
    """Moments within ``span`` seconds, by day three times as many as by night."""
    found: list[float] = []
    while len(found) < jobs:
        at = random.uniform(0.0, span)
        if random.random() < 0.5 - 0.25 * math.cos(2 * math.pi * at / DAY):
            found.append(at)
    return sorted(found)


def _users(random: Random, jobs: int, users: int) -> list[str]:
    """A few users submit most of it, and in bursts."""
    weights = [1.0 / (rank + 1) for rank in range(users)]
    found: list[str] = []
    while len(found) < jobs:
        user = f"user{random.choices(range(users), weights)[0]}"
        found += [user] * min(jobs - len(found), 1 + int(random.expovariate(0.4)))
    return found
