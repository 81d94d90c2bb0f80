"""What the next report tells beside how nodes and GPUs are: what was looked for, and how the host itself is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.model import Distance, Probe
    from agent.hardware import HardwareReport
    from agent.upgrade.trial import Progress


@dataclass(frozen=True, slots=True)
class Letter:
    """What goes with one report."""

    probes: Sequence[Probe]
    distances: Sequence[Distance]
    hardware: HardwareReport | None
    upgrade: Progress | None

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.probes or self.distances or self.hardware or self.upgrade)


class Outbox:
    """What waits for a report."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.distances: list[Distance] = []
        # Of these the newest one counts.
        self.hardware: HardwareReport | None = None
        self.upgrade: Progress | None = None

    @property
    def is_due(self) -> bool:
        """Whether somebody waits for what is here; live values have time until the next heartbeat."""
        return bool(self.probes or self.distances or self.upgrade)

    def take(self) -> Letter:
        """All of it, to be sent. How far an upgrade is stays until a report that says so is answered."""
        letter = Letter(self.probes, self.distances, self.hardware, self.upgrade)
        self.probes, self.distances, self.hardware = [], [], None
        return letter

    def put_back(self, letter: Letter) -> None:
        """Nobody answered. Live values are read again instead."""
        self.probes = [*letter.probes, *self.probes]
        self.distances = [*letter.distances, *self.distances]

    def answered(self, letter: Letter) -> None:
        """The coordinator has it."""
        if self.upgrade is letter.upgrade:
            self.upgrade = None
