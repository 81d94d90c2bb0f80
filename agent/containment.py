"""What holds the processes of nodes on this host, and what escapes it, in words for those who look at hosts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent.core.model import Phase
from agent.hardware.diagnosis import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.model import Observed
    from agent.hardware import HardwareReport
    from agent.spawner.wire import Message

BY_MARKS = "marks in the processes"
_WAY_OUT = "run the agent as root, or under systemd with Delegate=yes and DelegateSubgroup=supervisor (deploy/)"


@dataclass(frozen=True, slots=True)
class Containment:
    """``held`` is what the spawner said of itself; ``stuck`` the allocations that can't be ended, and why."""

    held: Mapping[str, object] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()

    def into(self, report: HardwareReport) -> HardwareReport:
        """The report with what is known of it."""
        return replace(report, isolation=isolation(self.held) if self.held else "", warnings=self.stuck)


def containment(before: Containment, news: Iterable[Message], observed: Iterable[Observed]) -> Containment:
    """What is known after ``news`` that have been taken in."""
    held = before.held
    for message in news:
        if message["ev"] == "snapshot":
            said = message.get("held")
            held = said if isinstance(said, dict) else {}
    stuck = (f"{seen.id}: {seen.reason}" for seen in observed if seen.phase is Phase.STOPPING and seen.reason)
    return Containment(held, tuple(stuck))


def isolation(held: Mapping[str, object]) -> str:
    """``cgroup v2, memory limits by cgroup v1``; with the reason if something is not held."""
    trees, memory, reason = (str(held.get(key) or "") for key in ("trees", "memory", "reason"))
    limits = f"memory limits by {memory}" if memory else "no memory limits"
    return f"{trees or BY_MARKS}, {limits}" + (f" ({reason})" if reason else "")


def examine_containment(use_groups: bool) -> Finding:
    """What `agent doctor` says: whether this process could do what the agent's spawner wants to."""
    from agent.spawner.nursery import Nursery

    nursery = Nursery("doctor", use_groups)
    held = nursery.held()
    nursery.close()
    if held["trees"] and held["memory"]:
        return Finding("ok", "processes", isolation(held))
    way_out = _WAY_OUT if use_groups else "leave out --no-cgroups (or cgroups = false in agent.toml)"
    return Finding("warn", "processes", isolation(held), way_out)
