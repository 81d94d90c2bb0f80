"""Nodes that say when they live, on one clock for all hosts: two live copies of one node would show."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

# Ten times a second a line with rank, attempt and the machine's uptime; a TERM is noted, and does not end it.
_SCRIPT = """
say() {{ read up _ < /proc/uptime; echo "$1 $DSTACK_NODE_RANK $RALLYPOINT_ATTEMPT $RALLYPOINT_HOST_NAME $up" >> {0}; }}
trap 'say term' TERM
until [ -e {1} ]; do say beat; sleep 0.1; done
say end
"""


@dataclass(frozen=True, slots=True)
class Life:
    """One attempt of a node: from its first sign of life to its last, and when it was told to end (0: never)."""

    rank: int
    attempt: int
    host: str
    first: float
    last: float
    told: float
    ended: bool


def now() -> float:
    """The clock that the nodes write down: the machine's uptime in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Beats:
    """The lives of a job's nodes, which all see ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.beats"
        self._go = folder / f"{name}.go"

    @property
    def script(self) -> str:
        """What a node runs."""
        return _SCRIPT.format(self._path, self._go)

    def finish(self) -> None:
        """Let the nodes end well."""
        self._go.touch()

    def lives(self) -> list[Life]:
        """All attempts so far, in the order of rank and attempt."""
        signs: dict[tuple[int, int, str], list[tuple[str, float]]] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            kind, rank, attempt, host, at = line.split()
            signs.setdefault((int(rank), int(attempt), host), []).append((kind, float(at)))
        return [_life(*key, found) for key, found in sorted(signs.items())]

    def check_one_at_a_time(self) -> None:
        """No node lived twice at any moment."""
        by_rank: dict[int, list[Life]] = {}
        for life in self.lives():
            by_rank.setdefault(life.rank, []).append(life)
        for lives in by_rank.values():
            for one, other in itertools.pairwise(lives):
                assert one.attempt < other.attempt, f"two copies of one attempt: {one}, {other}"
                assert one.last < other.first, f"two copies at once: {one}, {other}"


def _life(rank: int, attempt: int, host: str, signs: list[tuple[str, float]]) -> Life:
    times = [at for _, at in signs]
    told = min((at for kind, at in signs if kind == "term"), default=0.0)
    return Life(rank, attempt, host, min(times), max(times), told, any(kind == "end" for kind, _ in signs))
