"""What a job asks of each host: jobs that ask the same make one *class*, and are looked at together."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.spec import JobSpec, Resources


@dataclass(frozen=True, slots=True)
class Asks:
    """All that decides which hosts may hold a node and which is best. Hashable: equal asks are one class."""

    resources: Resources
    max_duration: float | None = None
    stop_duration: float | None = None
    near: str | None = None

    @classmethod
    def of(cls, spec: JobSpec) -> Asks:
        """What the nodes of a job with this specification ask."""
        return cls(spec.resources, spec.max_duration, spec.stop_duration, spec.near)
