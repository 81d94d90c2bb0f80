"""`python -m agent.upgrade.watch --state-dir DIR`: has the new version started, and the old one again if that fails.

It is of the old version and outlives the agents. A second process above it starts it again if it is killed; what it
has to know is on disk, and each step may be taken twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from rallypoint.failpoints import BadFailpoint, arm, reach

from agent.installation import InstallationDamaged, NotInstalled, Supervisor, load, switch
from agent.lock import AGENT_LOCK, AlreadyRunning, PidLock, holder
from agent.restarting import announce_restart
from agent.spawner import procs
from agent.spawner.wire import now
from agent.supervision import Place, place_of, restart, start, status, unit_of
from agent.supervisor.standing import LOG_FILE
from agent.units import SupervisionFailed
from agent.upgrade.trial import (
    LOCK_FILE,
    TRIAL_FILE,
    Progress,
    Step,
    Trial,
    end_trial,
    read_trial,
    write_ended,
    write_trial,
)

_LOOK_SECONDS = 0.1
# Asking systemd costs a process each time.
_STATUS_SECONDS = 1.0
# A version that ends so often has had its chance.
_ENDS = 3
# Lines of the agent's log in a reason, and bytes of them.
_LINES, _BYTES = 5, 800
_LIVES = 5


def main(arguments: list[str]) -> int:
    """Watch the trial that is written down in the state directory; 1 if somebody does."""
    parser = argparse.ArgumentParser(prog="python -m agent.upgrade.watch")
    parser.add_argument("--state-dir", type=Path, required=True)
    state_dir: Path = parser.parse_args(arguments).state_dir
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever ends the agent and all around it means the agent.
        signal.signal(number, signal.SIG_IGN)
    try:
        with PidLock(state_dir / LOCK_FILE, "pid {pid} watches it already"):
            return _live(state_dir)
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return 1


def _live(state_dir: Path) -> int:
    """Watch in a child, and in another one if it dies."""
    try:
        arm("upgrade", os.environ)
    except BadFailpoint as error:
        print(error, file=sys.stderr)
        return 2
    for _ in range(_LIVES):
        child = os.fork()
        if not child:
            _watch_and_exit(state_dir)
        _, how = os.waitpid(child, 0)
        if not os.WIFSIGNALED(how):
            return os.waitstatus_to_exitcode(how)
        # A failpoint is one death.
        arm("upgrade", {})
    return 1


def _watch_and_exit(state_dir: Path) -> None:
    code = 1
    try:
        watch(state_dir)
        code = 0
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def watch(state_dir: Path) -> None:
    """See the trial through. Raises OSError, InstallationDamaged, NotInstalled."""
    trial = read_trial(state_dir)
    if trial is None:
        return
    place = place_of(state_dir, load(Path(trial.prefix)))
    since = _log_end(place)
    if not trial.deadline:
        _begin(trial, place)
    elif trial.boot != procs.boot_id():
        # The machine was restarted meanwhile: that was not the new version's fault, and it has begun by itself.
        _keep(trial, place)
    failure = _failure(place, trial)
    if failure:
        _go_back(trial, place, f"{failure}; {trial.old} is back{_said(place, since)}")


def _begin(trial: Trial, place: Place) -> None:
    reach("upgrade.before-switch")
    switch(Path(trial.prefix), trial.new)
    reach("upgrade.after-switch")
    # First: as soon as it is started it may be proven, and the trial over.
    _keep(trial, place)
    reach("upgrade.before-restart")
    _restart(place)
    reach("upgrade.after-restart")


def _keep(trial: Trial, place: Place) -> None:
    write_trial(place.state_dir, replace(trial, deadline=now() + trial.seconds, boot=procs.boot_id()))


def _failure(place: Place, trial: Trial) -> str:
    """Wait for the end of the trial: empty if the new version has proved itself, else why it has failed."""
    ends = _Ends(place)
    look_at = 0.0
    while True:
        known = read_trial(place.state_dir)
        if known is None and not (place.state_dir / TRIAL_FILE).exists():
            return ""
        if known is not None and now() >= known.deadline:
            return f"{trial.new} was not in contact within {trial.seconds:g} s"
        if now() >= look_at:
            look_at = now() + _STATUS_SECONDS
            if ends.count() >= _ENDS:
                return f"{trial.new} ended {_ENDS} times{ends.how()}"
        time.sleep(_LOOK_SECONDS)


class _Ends:
    """How often the agent ended by itself since the watch began."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._code: int | None = None
        self._before = self._restarts() or 0

    def count(self) -> int:
        return (self._restarts() or self._before) - self._before

    def how(self) -> str:
        return "" if self._code is None else f" (exit code {self._code})"

    def _restarts(self) -> int | None:
        try:
            seen = status(self._place)
        except SupervisionFailed:
            return None
        self._code = seen.last_code if seen.last_code is not None else self._code
        return seen.restarts


def _go_back(trial: Trial, place: Place, reason: str) -> None:
    reach("upgrade.before-switch-back")
    switch(Path(trial.prefix), trial.old)
    reach("upgrade.after-switch-back")
    ended = Progress(trial.number, Step.ROLLED_BACK, reason)
    with contextlib.suppress(OSError):
        # A full disk must not keep the old version away.
        write_ended(place.state_dir, ended)
    print(f"rolled back: {reason}", file=sys.stderr, flush=True)
    _restart(place)
    reach("upgrade.after-restart-back")
    # Last: as long as it is there, whoever comes after a death of ours does all of this again.
    end_trial(place.state_dir, ended)


def _restart(place: Place) -> None:
    """Have the agent start again, also where nobody supervises it any more."""
    try:
        restart(place)
        return
    except SupervisionFailed as error:
        print(error, file=sys.stderr, flush=True)
    pid = holder(place.state_dir / AGENT_LOCK)
    if pid is not None:
        announce_restart(place.state_dir)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    if place.kind is Supervisor.BACKGROUND:
        with contextlib.suppress(SupervisionFailed):
            start(place)


def _log_end(place: Place) -> int:
    try:
        return (place.state_dir / LOG_FILE).stat().st_size
    except OSError:
        return 0


def _said(place: Place, since: int) -> str:
    """The last lines of the agent's log from the byte ``since`` on, for a reason; empty if there are none."""
    try:
        if place.kind is Supervisor.BACKGROUND:
            log = (place.state_dir / LOG_FILE).read_bytes()
            # A shorter one was begun anew meanwhile.
            text = log[since if since <= len(log) else 0 :][-8192:].decode(errors="replace")
        else:
            words = ["--unit", place.unit, "--lines", str(_LINES), "--no-pager", "--output", "cat"]
            command = unit_of(place).command("journalctl", *words)
            text = subprocess.run(command, capture_output=True, text=True, timeout=10.0, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    # A version that dies at once says the same each time.
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))[-_LINES:]
    return f"; its log says: {' | '.join(lines)[-_BYTES:]}" if lines else ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (InstallationDamaged, NotInstalled, OSError) as problem:
        sys.exit(f"the upgrade can't be watched: {problem}")
