"""Start, stop and look at the agent of one state directory, whoever supervises it: systemd or our own supervisor.

What is started is always what is installed now: after an upgrade `restart` is all that is needed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.installation import NotInstalled, Supervisor, find
from agent.join_exit import TOKEN_VARIABLE
from agent.lock import AGENT_LOCK, holder
from agent.restarting import announce_restart
from agent.supervisor.standing import IN_CONTACT, LOG_FILE, PID_FILE, Standing, read_standing
from agent.units import SupervisionFailed, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.installation import Installation

T = TypeVar("T")

_START_SECONDS = 20.0
_CONTACT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """One agent's supervision. ``unit`` is systemd's name for it; ``command`` is what `agent` is called by here.

    ``user``: whom it runs as, when root starts it; empty: whoever starts it. ``stop_seconds``: what it may take to end.
    """

    state_dir: Path
    kind: Supervisor = Supervisor.BACKGROUND
    unit: str = "rallypoint-agent"
    command: tuple[str, ...] = (sys.executable, "-m", "agent")
    user: str = ""
    stop_seconds: float = 30.0


def place_of(state_dir: Path, installation: Installation | None) -> Place:
    """How the agent of ``state_dir`` is supervised: as it was installed, else by our own supervisor."""
    if installation is None or installation.state_dir != state_dir:
        return Place(state_dir)
    known = Place(state_dir, installation.supervisor, command=(str(installation.agent),), user=installation.user)
    return replace(known, unit=installation.unit or known.unit)


def installed(state_dir: Path) -> Installation | None:
    """The installation that the agent of ``state_dir`` runs from. Raises InstallationDamaged."""
    with contextlib.suppress(NotInstalled):
        found = find()
        return found if found.state_dir == state_dir else None
    return None


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand: ``phase`` as in ``Standing``, or systemd's word for it. Pids are 0 where there is none.

    ``since`` in Unix seconds, 0: unknown; ``ready``: the agent has said that it is; ``says``: in its own words.
    """

    running: bool
    phase: str
    agent: int = 0
    supervisor: int = 0
    since: float = 0.0
    ready: bool = False
    says: str = ""
    restarts: int = 0
    last_code: int | None = None
    next_start: float = 0.0


def start(place: Place, options: Sequence[str] = ()) -> Status:
    """Have the agent run, with ``options`` of `agent run`; returns once it is ready. One that runs is left as it is.

    Raises SupervisionFailed, with the agent's own last words if it ended.
    """
    if place.kind is not Supervisor.BACKGROUND:
        unit_of(place).do("start")
        return status(place)
    if _supervisor_of(place) is None:
        _launch(place, options)
    return _until_ready(place)


def stop(place: Place) -> None:
    """Have the agent end, and stay so; what it runs goes on for the rest of its lease. Raises SupervisionFailed."""
    if place.kind is not Supervisor.BACKGROUND:
        unit_of(place).do("stop")
        return
    pid = _supervisor_of(place)
    # One whose supervisor was killed is ended without.
    pid = pid if pid is not None else holder(place.state_dir / AGENT_LOCK)
    if pid is None:
        return
    _signal(pid, signal.SIGTERM)
    if not _waited(lambda: not _lives(place), place.stop_seconds + 10.0):
        raise SupervisionFailed(f"the agent (pid {pid}) does not end; 'agent status' says what it does")


def restart(place: Place) -> None:
    """Have the agent end and start again, with what is installed now; tasks do not notice. Returns at once.

    The agent itself may call it. Raises SupervisionFailed.
    """
    announce_restart(place.state_dir)
    if place.kind is not Supervisor.BACKGROUND:
        unit_of(place).do("restart", "--no-block")
        return
    pid = _supervisor_of(place)
    if pid is None:
        raise SupervisionFailed(f"nobody supervises the agent of {place.state_dir}; run 'agent start'")
    _signal(pid, signal.SIGHUP)


def status(place: Place) -> Status:
    """How the agent is. Raises SupervisionFailed where systemd does not say."""
    if place.kind is not Supervisor.BACKGROUND:
        return _unit_status(unit_of(place).properties())
    pid, standing = _supervisor_of(place), read_standing(place.state_dir)
    if pid is None or standing is None or standing.supervisor != pid:
        agent = holder(place.state_dir / AGENT_LOCK) or 0
        says = "nobody supervises it: 'agent start' mends that" if agent else ""
        if standing is not None and standing.phase == "ended" and not agent:
            return replace(_as_status(standing), phase="stopped", supervisor=0)
        return Status(bool(agent), "unsupervised" if agent else "stopped", agent, says=says)
    return _as_status(standing)


def _as_status(standing: Standing) -> Status:
    return Status(
        running=bool(standing.agent),
        phase=standing.phase,
        agent=standing.agent,
        supervisor=standing.supervisor,
        since=standing.since,
        ready=standing.ready,
        says=standing.says,
        restarts=standing.restarts,
        last_code=standing.last_code,
        next_start=standing.next_start,
    )


# --- our own supervisor -----------------------------------------------------------------------------------------------


def _supervisor_of(place: Place) -> int | None:
    return holder(place.state_dir / PID_FILE)


def _lives(place: Place) -> bool:
    return _supervisor_of(place) is not None or holder(place.state_dir / AGENT_LOCK) is not None


def _launch(place: Place, options: Sequence[str]) -> None:
    from agent.supervisor.rotation import open_log

    agent = [*place.command, "run", "--state-dir", str(place.state_dir), *options]
    words = ["--state-dir", str(place.state_dir), "--stop-seconds", f"{place.stop_seconds:g}"]
    try:
        log = open_log(place.state_dir / LOG_FILE)
    except OSError as error:
        raise SupervisionFailed(
            f"{place.state_dir / LOG_FILE} can't be written ({error.strerror}); run it as the user who joined"
        ) from None
    try:
        subprocess.Popen(
            [sys.executable, "-m", "agent.supervisor", *words, "--", *agent],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Where this package is, even if it is not installed.
            cwd=Path(__file__).parent.parent,
            **{"env": _environment(), **_as_user(place, log)},
        )
    except (OSError, KeyError) as error:
        raise SupervisionFailed(f"the supervisor can't be started as {place.user or 'this user'}: {error}") from None
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    """Ours, but for the join token: it has done its work, and what runs for months is no place to keep it."""
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}


def _as_user(place: Place, log: int) -> dict[str, Any]:
    """What has a process run as the user whose agent it is, and write to ``log``. Raises KeyError: there is none."""
    if not place.user or os.geteuid() != 0:
        return {}
    import pwd

    who = pwd.getpwnam(place.user)
    os.fchown(log, who.pw_uid, who.pw_gid)
    home = {"HOME": who.pw_dir, "USER": who.pw_name, "LOGNAME": who.pw_name}
    groups = os.getgrouplist(who.pw_name, who.pw_gid)
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": groups, "env": {**_environment(), **home}}


def _until_ready(place: Place) -> Status:
    def settled() -> Status | None:
        now = status(place)
        return now if now.ready or now.phase in ("waiting", "ended") else None

    found = _waited(settled, _START_SECONDS)
    if found is None:
        raise SupervisionFailed(f"the agent is not ready after {_START_SECONDS:g} s; see {place.state_dir / LOG_FILE}")
    # A coordinator that is away is no failure; one that wants no contact says so at once.
    _waited(lambda: status(place).says == IN_CONTACT or not status(place).running, _CONTACT_SECONDS)
    found = status(place)
    if not found.running:
        raise SupervisionFailed(f"the agent does not start: {_last_words(place, found)}")
    return found


def _last_words(place: Place, ended: Status) -> str:
    """What the agent said last, without its name; else how it ended."""
    with contextlib.suppress(OSError):
        lines = (place.state_dir / LOG_FILE).read_bytes()[-4096:].decode(errors="replace").splitlines()
        said = [line.removeprefix("agent: ") for line in lines if line.startswith("agent: ")]
        if said:
            return said[-1]
    return f"{ended.says or f'it ended with code {ended.last_code}'}; see {place.state_dir / LOG_FILE}"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise SupervisionFailed(f"process {pid} belongs to another user; run this as that user") from None


def _waited(probe: Callable[[], T], seconds: float) -> T | None:
    deadline = time.monotonic() + seconds
    while not (seen := probe()):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return seen


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit_of(place: Place) -> Unit:
    """The systemd unit of an agent that systemd supervises."""
    return Unit(place.unit, user=place.kind is Supervisor.SYSTEMD_USER)


def _unit_status(told: Mapping[str, str]) -> Status:
    pid = int(told.get("MainPID") or 0)
    active = told.get("ActiveState", "unknown")
    return Status(
        running=pid > 0,
        phase=f"{active} ({told.get('SubState', '')})",
        agent=pid,
        ready=active == "active",
        # systemd keeps the last words of one that is gone.
        says=told.get("StatusText", "") if pid else "",
        restarts=int(told.get("NRestarts") or 0),
        last_code=int(told.get("ExecMainStatus") or 0) if pid == 0 else None,
    )
