"""What holds the processes of nodes on this host, and what escapes it, in words for those who look at hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.model import Phase
from agent.hardware.diagnosis import Finding
from agent.spawner.wire import HELD, NO_CGROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.model import Observed
    from agent.hardware import HardwareReport
    from agent.spawner.wire import Message

BY_MARKS = "marks in the processes"
_WAY_OUT = "run the agent as root, or where systemd runs and has cgroup v2 (a user: after 'loginctl enable-linger')"


@dataclass(frozen=True, slots=True)
class Containment:
    """``held`` is what the spawner said of itself; ``stuck`` the allocations that can't be ended, and why;
    ``cpu`` is the setting ``cpu_limit``."""

    held: Mapping[str, object] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()
    cpu: str = "weight"

    def into(self, report: HardwareReport) -> HardwareReport:
        """The report with what is known of it."""
        held = isolation(self.held) if self.held else ""
        return replace(report, isolation=held, warnings=self.stuck, limits=limits(self.held, self.cpu))


def containment(before: Containment, news: Iterable[Message], observed: Iterable[Observed]) -> Containment:
    """What is known after ``news`` that have been taken in."""
    held = before.held
    for message in news:
        if message["ev"] == "snapshot":
            said = message.get("held")
            held = said if isinstance(said, dict) else {}
    stuck = (f"{seen.id}: {seen.reason}" for seen in observed if seen.phase is Phase.STOPPING and seen.reason)
    return Containment(held, tuple(stuck), before.cpu)


def isolation(held: Mapping[str, object]) -> str:
    """``cgroup v2, memory limits by cgroup v1``; with the reason if something is not held."""
    trees, memory, reason = (str(held.get(key) or "") for key in ("trees", "memory", "reason"))
    limits = f"memory limits by {memory}" if memory else "no memory limits"
    return f"{trees or BY_MARKS}, {limits}" + (f" ({reason})" if reason else "")


def limits(held: Mapping[str, object], cpu: str) -> dict[str, tuple[str, str]]:
    """Of cpu, memory, pids and shm: what holds nodes to it, or why nothing does. None from an older spawner."""
    said = held.get("limits")
    found = {str(name): (str(by), str(unheld)) for name, (by, unheld) in said.items()} if isinstance(said, dict) else {}
    by, unheld = found.get("cpu", ("", ""))
    if cpu == "off" and found:
        found["cpu"] = "", "cpu_limit is off in the agent's settings"
    elif by:
        found["cpu"] = f"{by}, {'by quota' if cpu == 'hard' else 'by weight'}", unheld
    return found


def examine(use_groups: bool, cpu: str) -> list[Finding]:
    """What `agent doctor` says: what would hold the nodes of an agent that is started like this process."""
    held = _held(use_groups)
    return [_isolation_finding(held, use_groups), limits_finding(limits(held, cpu))]


def _held(use_groups: bool) -> dict[str, object]:
    """What the agent's spawner would say, from where it would run."""
    options = [HELD] if use_groups else [HELD, NO_CGROUPS]
    asked = subprocess.run(
        [sys.executable, "-m", "agent.spawner", *options],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        said = (asked.stderr.splitlines() or [""])[-1]
        return {"reason": f"the spawner can't be started: {said or f'code {asked.returncode}'}"}
    held: dict[str, object] = json.loads(asked.stdout)
    return held


def limits_finding(found: Mapping[str, tuple[str, str]]) -> Finding:
    """What ``limits`` found, each reason once and short; its ``detail`` has them whole."""
    held = ", ".join(f"{name} by {by}" for name, (by, _) in found.items() if by)
    loose = {name: unheld for name, (_, unheld) in found.items() if unheld}
    if not loose:
        return Finding("ok", "limits", held)
    names: dict[str, list[str]] = {}
    for name, unheld in loose.items():
        names.setdefault(briefly(unheld.replace(f"no {name} controller that its agent may use ", "")), []).append(name)
    said = "; ".join(f"{', '.join(those)}: {why}" for why, those in names.items())
    detail = "; ".join(f"{name}: {unheld}" for name, unheld in loose.items())
    return Finding("warn", "limits", f"{f'held: {held}; ' if held else ''}not held here: {said}", _WAY_OUT, detail)


def briefly(reason: str) -> str:
    """The reason without the paths of groups that could not be made, each of which says the same."""
    parts = (reason[1:-1] if reason.startswith("(") else reason).split("; ")
    refused = dict.fromkeys(part.rpartition(": ")[2] for part in parts if part.startswith("/"))
    others = dict.fromkeys(part for part in parts if not part.startswith("/"))
    return "; ".join([*([f"no control group may be made ({', '.join(refused)})"] if refused else []), *others])


def _isolation_finding(held: Mapping[str, object], use_groups: bool) -> Finding:
    if held.get("trees") and held.get("memory"):
        return Finding("ok", "processes", isolation(held))
    way_out = _WAY_OUT if use_groups else "leave out --no-cgroups (or cgroups = false in agent.toml)"
    # Of groups that may not be made the limits tell.
    reason = str(held["reason"])
    short = reason if briefly(reason) == reason else ""
    return Finding("warn", "processes", isolation({**held, "reason": short}), way_out, reason)
