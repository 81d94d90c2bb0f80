"""What the nodes of a ``cluster`` job need, where they are not alike: one need for each of its ``groups``, and others
in each of its ``variants``."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core import fit
from coordinator.core.program import resources_of, sizes, variant_of
from coordinator.core.runtimes import Runs
from coordinator.core.spec import JobSpec
from coordinator.core.where import Where


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes of a job that are alike: ``count`` ranks from ``first`` on. ``name`` is that of their group, if any."""

    name: str
    first: int
    count: int
    need: fit.Need

    @property
    def ranks(self) -> range:
        """Their ranks."""
        return range(self.first, self.first + self.count)


def parts_of(spec: JobSpec, variant: str = "") -> tuple[Part, ...]:
    """The job's nodes in the order of their ranks."""
    found, first = [], 0
    where, runs = _where(spec), Runs.of(spec)
    for number, count in enumerate(sizes(spec)):
        name = spec.groups[number].name if spec.groups else ""
        found.append(Part(name, first, count, fit.Need.of(resources_of(spec, first, variant), where, runs)))
        first += count
    return tuple(found)


def need_of(spec: JobSpec, rank: int, variant: str = "") -> fit.Need:
    """What the node of a rank needs; a spare, which may have to take any node's place, what the greatest needs."""
    if rank < spec.nodes:
        return fit.Need.of(resources_of(spec, rank, variant), _where(spec), Runs.of(spec))
    return leading(spec, variant).need


def leading(spec: JobSpec, variant: str | None = None) -> Part:
    """The nodes that are hardest to place, those that need most; in the best variant, if none is named."""
    variant = variants_of(spec)[0] if variant is None else variant
    return max(parts_of(spec, variant), key=lambda part: _size(part.need))


def variants_of(spec: JobSpec) -> tuple[str, ...]:
    """The names of the job's variants, best first; one without a name where it has none."""
    return tuple(variant.name for variant in spec.variants) or ("",)


def all_needs(spec: JobSpec) -> tuple[fit.Need, ...]:
    """Whatever a node of the job may need, in any variant or group."""
    needs = (part.need for variant in variants_of(spec) for part in parts_of(spec, variant))
    return tuple(dict.fromkeys(needs))


def speed_of(spec: JobSpec, variant: str) -> float | None:
    """How much work the variant does, compared with others, as the user states it; None: not stated."""
    found = variant_of(spec, variant)
    return None if found is None else found.speed


def _size(need: fit.Need) -> tuple[int, int, int]:
    return (need.gpus, need.cpus, need.memory_bytes)


def _where(spec: JobSpec) -> Where:
    """Which hosts the job may use. Inside of a container its user is no user of the host."""
    return Where.of(spec.where, None if spec.image else spec.user)
