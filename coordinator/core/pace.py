"""How long a job's own nodes take, by variant and by model of GPU: what tells fast hosts from slow ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2, log2

# Means that differ by less than about a fifth are one: the order of hosts must not hang on noise, nor change with
# every node that ends.
STEPS_A_DOUBLING = 4


@dataclass(frozen=True, slots=True)
class Pace:
    """What ended nodes took, in seconds, rounded: (variant, model of GPU, mean), sorted."""

    took: tuple[tuple[str, str, float], ...] = ()

    def of(self, variant: str, model: str) -> float | None:
        """Seconds that a node takes there; None: none has ended there yet."""
        return next((mean for name, gpu, mean in self.took if (name, gpu) == (variant, model)), None)


UNKNOWN = Pace()


class Means:
    """The running means of one job."""

    __slots__ = ("_means", "pace")

    def __init__(self) -> None:
        self._means: dict[tuple[str, str], tuple[int, float]] = {}
        self.pace = UNKNOWN

    def add(self, variant: str, model: str, seconds: float) -> bool:
        """A node took so long there; whether the pace is another now."""
        count, mean = self._means.get((variant, model), (0, 0.0))
        self._means[variant, model] = (count + 1, mean + (seconds - mean) / (count + 1))
        took = tuple((*kind, _rounded(mean)) for kind, (_, mean) in sorted(self._means.items()))
        changed = took != self.pace.took
        if changed:
            self.pace = Pace(took)
        return changed


def _rounded(seconds: float) -> float:
    return exp2(round(log2(max(seconds, 0.001)) * STEPS_A_DOUBLING) / STEPS_A_DOUBLING)
