"""What a job asks of each host: jobs that ask the same make one *class*, and are looked at together."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core import fit, needs
from coordinator.core.ids import JobId
from coordinator.core.model import Job
from coordinator.core.pace import UNKNOWN, Pace
from coordinator.core.spec import Optimize, Spread


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a node: a variant of its job, or the only one there is. ``speed`` None: not known."""

    name: str
    need: fit.Need
    speed: float | None = None


@dataclass(frozen=True, slots=True)
class Asks:
    """All that decides which hosts may hold a node and which is best. Hashable: equal asks are one class.

    ``spread`` matters, and ``alone`` is set, only for a job that spreads its own nodes: it is a class of its own.
    ``pace`` is what its own ended nodes took.
    """

    options: tuple[Option, ...]
    optimize: Optimize = Optimize.COST
    near: str | None = None
    max_duration: float | None = None
    stop_duration: float | None = None
    pace: Pace = UNKNOWN
    spread: Spread | None = None
    alone: JobId | None = None

    @classmethod
    def of(cls, job: Job, pace: Pace) -> Asks:
        """What the nodes of the job ask."""
        spec = job.spec
        options = tuple(
            Option(variant, part.need, needs.speed_of(spec, variant))
            for variant in needs.variants_of(spec)
            for part in needs.parts_of(spec, variant)
        )
        spreads = spec.optimize is Optimize.SPREAD
        return cls(
            options=options,
            optimize=spec.optimize,
            near=spec.near,
            max_duration=spec.max_duration,
            stop_duration=spec.stop_duration,
            pace=pace,
            spread=spec.spread if spreads else None,
            alone=job.id if spreads else None,
        )

    @property
    def steers(self) -> bool:
        """Whether it is known that some hosts are faster than others, and how long nodes take: of a job's first nodes
        nobody knows, and all kinds of hardware begin at once."""
        hints = sum(option.speed is not None for option in self.options)
        return len(self.pace.took) > 1 or (len(self.pace.took) == 1 and hints > 1)

    def hours(self, option: Option, model: str) -> float:
        """Hours that a node is expected to take so on hosts with this model of GPU; without any idea it is one."""
        took = self.pace.of(option.name, model)
        if took is not None:
            return took / 3600.0
        speeds = {option.name: option.speed or 1.0 for option in self.options}
        known = [seconds * speeds.get(name, 1.0) for name, _, seconds in self.pace.took]
        work = sum(known) / len(known) if known else self.max_duration or 3600.0
        return work / 3600.0 / speeds[option.name]
