"""How things stand with a supervised agent, as its supervisor last wrote it down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from rallypoint.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

PID_FILE = "agent.pid"
STANDING_FILE = "supervisor.json"
LOG_FILE = "agent.log"

# What an agent says of itself while it is.
IN_CONTACT = "in contact with the coordinator"


@dataclass(frozen=True, slots=True)
class Standing:
    """``agent``: its pid, 0 while there is none. Times are Unix seconds, 0: never.

    ``phase``: ``running``, ``waiting`` (it is started again at ``next_start``), ``stopping`` or ``ended`` (for good).
    ``ready``: it has said so; ``says`` is what it last said of itself; ``last_code`` is its last run's exit code.
    """

    supervisor: int
    phase: str
    agent: int = 0
    since: float = 0.0
    ready: bool = False
    says: str = ""
    restarts: int = 0
    last_code: int | None = None
    last_end: float = 0.0
    next_start: float = 0.0


def write_standing(state_dir: Path, standing: Standing) -> bool:
    """Keep it; False where the disk takes nothing, which must not end a supervisor."""
    try:
        write_private(state_dir / STANDING_FILE, json.dumps(asdict(standing)).encode() + b"\n")
    except OSError:
        return False
    return True


def read_standing(state_dir: Path) -> Standing | None:
    """What was last written; None: nothing that can be used."""
    try:
        record = json.loads((state_dir / STANDING_FILE).read_bytes())
        return Standing(**{field.name: record[field.name] for field in fields(Standing)})
    except (OSError, ValueError, TypeError, KeyError):
        return None
