"""What a history was worth: how busy the GPUs were, how long users waited, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.sim.traces.cluster import History
from tests.sim.traces.workload import GPUS, Work

CLASSES: dict[str, Callable[[Work], bool]] = {
    "all": lambda work: True,
    "1 GPU": lambda work: work.gpus == 1 and not work.gang,
    "2-8 GPUs": lambda work: work.gpus > 1 and not work.gang,
    "gangs": lambda work: work.gang,
}


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds between submission and start, of each job the mean over its nodes."""

    jobs: int
    mean: float
    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Figures:
    """``utilisation`` of all GPUs while jobs arrived, ``makespan`` in hours until the last one ended, ``cost`` in USD
    of what was held, ``waits`` by class."""

    utilisation: float
    makespan: float
    cost: float
    waits: dict[str, Waits]


def figures(history: History) -> Figures:
    """The figures of a history."""
    arrived = max(work.at for work in history.trace)
    busy = sum(run.work.gpus * max(0.0, min(run.freed, arrived) - run.held) for run in history.runs)
    waits = _waits(history)
    by_class = {name: [waits[work.number] for work in history.trace if of(work)] for name, of in CLASSES.items()}
    return Figures(
        utilisation=busy / (history.hosts * GPUS * arrived),
        makespan=max(run.freed for run in history.runs) / 3600,
        cost=sum(run.price * (run.freed - run.held) / 3600 for run in history.runs),
        waits={name: _summed(found) for name, found in by_class.items()},
    )


def _waits(history: History) -> dict[int, float]:
    first: dict[tuple[int, int], float] = {}
    for run in history.runs:
        key = (run.work.number, run.rank)
        first[key] = min(first.get(key, run.held), run.held)
    waited: dict[int, float] = {}
    for (number, _), held in first.items():
        work = history.trace[number]
        waited[number] = waited.get(number, 0.0) + (held - work.at) / work.nodes
    return waited


def _summed(waits: Sequence[float]) -> Waits:
    if not waits:
        return Waits(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    order = sorted(waits)

    def at(share: float) -> float:
        return order[min(len(order) - 1, int(share * len(order)))]

    return Waits(len(order), sum(order) / len(order), at(0.5), at(0.9), at(0.99), order[-1])


def table(by_policy: dict[str, Figures]) -> str:
    """The figures of several policies, for people: waits in minutes."""
    columns = "".join(f" {name:>8}" for name in ("mean", "p50", "p90", "p99", "longest"))
    lines = [f"{'policy':<10}{'GPUs busy':>10}{'done in':>10}{'cost':>12}   {'wait in minutes':<16}{columns}"]
    for policy, found in by_policy.items():
        head = f"{policy:<10}{found.utilisation:>10.1%}{found.makespan:>8.1f} h{found.cost:>8,.0f} USD"
        for name, waits in found.waits.items():
            seconds = (waits.mean, waits.p50, waits.p90, waits.p99, waits.longest)
            row = "".join(f" {each / 60:>8.1f}" for each in seconds)
            lines.append(f"{head}   {f'{name} ({waits.jobs})':<16}{row}")
            head = " " * len(head)
    return "\n".join(lines)
