"""What is written down of an upgrade in the state directory, so that nobody's death leaves it half done."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rallypoint.files import write_private

from agent.closed import for_owner
from agent.installation import version_name
from agent.lock import holder

TRIAL_FILE = "upgrade.json"
ENDED_FILE = "upgrade-ended.json"
LOCK_FILE = "upgrade.lock"
LOG_FILE = "upgrade.log"


class Step(StrEnum):
    """How far an upgrade is, as the coordinator is told; the last three are final."""

    INSTALLING = "installing"
    RESTARTING = "restarting"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A release to go over to: a wheel of ``size`` bytes. ``seconds``: to install it; ``trial``: to prove itself."""

    number: int
    version: str
    sha256: str
    size: int
    seconds: float
    trial: float

    @property
    def name(self) -> str:
        """What its environment is called."""
        return version_name(self.version, self.sha256)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the coordinator is told of its order ``number``."""

    number: int
    step: Step
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A version that has yet to prove itself, for ``seconds``. ``old`` and ``new`` are names of environments.

    ``deadline`` is when that time is over (seconds of the boot ``boot``); 0: the new version has not been started yet.
    """

    number: int
    prefix: str
    old: str
    new: str
    seconds: float
    deadline: float = 0.0
    boot: str = ""

    def python(self) -> Path:
        """The interpreter of the old version."""
        return Path(self.prefix) / "versions" / self.old / "bin" / "python"


def write_trial(state_dir: Path, trial: Trial) -> None:
    """Write it down, durably. Raises OSError."""
    write_private(state_dir / TRIAL_FILE, json.dumps(asdict(trial)).encode() + b"\n")


def read_trial(state_dir: Path) -> Trial | None:
    """The trial that is under way; None: none is, or what is written of it can't be read."""
    record = _read(state_dir / TRIAL_FILE)
    try:
        return None if record is None else Trial(**record)
    except TypeError:
        return None


def end_trial(state_dir: Path, ended: Progress) -> None:
    """Write down how it ended, for the coordinator, and that it is over. Raises OSError."""
    write_ended(state_dir, ended)
    (state_dir / TRIAL_FILE).unlink(missing_ok=True)


def write_ended(state_dir: Path, ended: Progress) -> None:
    """Keep how an upgrade ended until the coordinator has been told. Raises OSError."""
    write_private(state_dir / ENDED_FILE, json.dumps(asdict(ended)).encode() + b"\n")


def read_ended(state_dir: Path) -> Progress | None:
    """How the last upgrade ended, if the coordinator has not been told yet."""
    record = _read(state_dir / ENDED_FILE)
    try:
        return None if record is None else Progress(record["number"], Step(record["step"]), record["reason"])
    except (KeyError, ValueError):
        return None


def forget_ended(state_dir: Path) -> None:
    """The coordinator knows. Raises OSError."""
    (state_dir / ENDED_FILE).unlink(missing_ok=True)


def watch_trial(state_dir: Path) -> subprocess.Popen[bytes] | None:
    """Have the trial watched that is under way, if there is one and nobody does: by whom. Raises OSError.

    The first thing that an agent does: whatever may be wrong with it, there is someone who brings the old one back.
    """
    trial = read_trial(state_dir)
    if trial is None or holder(state_dir / LOCK_FILE) is not None:
        return None
    with open(state_dir / LOG_FILE, "ab", opener=for_owner) as output:
        return subprocess.Popen(
            [str(trial.python()), "-I", "-m", "agent.upgrade.watch", "--state-dir", str(state_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
