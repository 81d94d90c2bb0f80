"""Figures of one run: kept, held against their targets, printed as a table and written as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``target`` is the most that is allowed, or the least when ``more_is_better``."""

    name: str
    value: float
    unit: str
    target: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target, if there is one, is met."""
        if self.target is None:
            return True
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    def row(self) -> tuple[str, ...]:
        """For the table."""
        sign = "≥" if self.more_is_better else "≤"
        target = "" if self.target is None else f"{sign} {self.target:g} {self.unit}"
        verdict = "" if self.target is None else "met" if self.met else "MISSED"
        return (self.name, f"{self.value:,.4g} {self.unit}", target, verdict, self.note)


@dataclass(slots=True)
class Results:
    """All figures of a run."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, *figures: Figure) -> None:
        """Keep figures, all of them; fails the test when the target of one is missed."""
        self.figures.extend(figures)
        for figure in figures:
            assert figure.met, f"target missed: {'  '.join(figure.row())}"

    def table(self) -> str:
        """The figures in columns."""
        rows = [("what", "measured", "target", "", "note"), *(figure.row() for figure in self.figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def write(self, path: Path) -> None:
        """As JSON, with what tells one machine and run from another."""
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
        figures = [asdict(figure) | {"met": figure.met} for figure in self.figures]
        document = {"version": 1, "at": time.time(), "machine": machine, "figures": figures}
        path.write_text(json.dumps(document, indent=1) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
