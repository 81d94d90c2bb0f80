"""Places at which a program can be made to die, for tests of crashes: ``kill -9`` at the worst moment, at will.

``reach(NAME)`` stands at each such place and does nothing, except in a process that was started with
``RALLYPOINT_FAILPOINT=NAME`` or ``NAME:N``: that one kills itself when it comes by for the N-th time. Nothing but a
process's own environment, read once at its start, arms a failpoint; who can set that could kill the process anyway.
"""

import os
import signal
from collections.abc import Mapping

VARIABLE = "RALLYPOINT_FAILPOINT"

NAMES: dict[str, str] = {
    "coordinator.before-commit": "changes are decided, none is on disk",
    "coordinator.after-commit": "they are on disk, nobody was told",
    "coordinator.after-tell": "orders wait for their hosts, callers have no answer",
    "coordinator.before-send": "orders are taken from what waits, and not sent",
    "coordinator.after-send": "orders are on their way to a host",
    "coordinator.before-submit-answer": "a job is on disk, its user does not know",
    "coordinator.after-submit-answer": "the user has the answer",
    "coordinator.before-report-answer": "a host's report is taken in, the host does not know",
    "coordinator.after-report-answer": "the host has the answer",
    "coordinator.before-log-append": "output has come and is not on disk",
    "coordinator.after-log-append": "output is on disk, the host does not know",
    "coordinator.after-logs-answer": "the host knows",
    "coordinator.before-archive-store": "files of a job have come and are not kept",
    "coordinator.after-archive-store": "they are kept, the user does not know",
    "agent.before-desired": "orders have come and are not looked at",
    "agent.after-desired": "they are acted on",
    "agent.before-report": "a report is put together and not sent",
    "agent.after-report": "it is answered, which is not noted",
    "agent.after-acknowledge": "that is noted",
    "agent.before-order": "an order for the spawner is made and not sent",
    "agent.after-order": "it is sent",
    "agent.before-publish": "output is read and not sent",
    "agent.after-publish": "it is answered, which is not noted",
    "spawner.before-starting": "a start is ordered, nothing is noted",
    "spawner.after-starting": "the start is noted, no process is there",
    "spawner.after-spawn": "the process is there, its number is not noted",
    "spawner.before-exit": "a process has ended, which is not noted",
    "spawner.before-sync": "its end is noted, but not on the disk",
    "spawner.after-sync": "its end is on the disk, the daemon does not know",
    "spawner.after-news": "the daemon is told",
    "upgrade.before-unpack": "the environment of a new version is there, without the version",
    "upgrade.after-unpack": "with it, but not checked",
    "upgrade.after-complete": "it is complete",
    "upgrade.before-switch": "the trial is written down, nothing has changed",
    "upgrade.after-switch": "what starts next is the new version",
    "upgrade.before-restart": "the trial's end is written down, too",
    "upgrade.after-restart": "the new version starts",
    "upgrade.before-switch-back": "the new version has failed",
    "upgrade.after-switch-back": "what starts next is the old version",
    "upgrade.after-restart-back": "it starts, and the trial is still written down",
}

_armed = ""
_left = 0


class BadFailpoint(ValueError):
    """RALLYPOINT_FAILPOINT names no place of this program; the message lists all."""


def arm(program: str, environ: Mapping[str, str]) -> str:
    """Have this process die where ``environ`` says; the name of that place, or nothing.

    ``program`` is the first part of its names. What is meant for a child (an agent's spawner) is left to it.

    Raises:
        BadFailpoint: there is no such place in ``program``, nor in a child of it.
    """
    global _armed, _left
    said = environ.get(VARIABLE, "")
    name, _, times = said.partition(":")
    _armed, _left = "", 0
    child = program in ("spawner", "upgrade")
    if not said or (child and name in NAMES and not name.startswith(f"{program}.")):
        return ""
    family = ("agent.", "spawner.", "upgrade.") if program == "agent" else (f"{program}.",)
    known = [known for known in NAMES if known.startswith(family)]
    if name not in known or not (times or "1").isdecimal() or int(times or "1") < 1:
        raise BadFailpoint(f"{VARIABLE}={said}: write NAME or NAME:TIMES, with one of {', '.join(known)}")
    if not name.startswith(f"{program}."):
        return ""
    _armed, _left = name, int(times or "1")
    return name


def armed(*names: str) -> bool:
    """Whether this process is to die at one of ``names``."""
    return _armed in names


def reach(name: str) -> None:
    """This process comes by the place ``name``: it dies here if it is to."""
    if _armed == name:
        _come_by()


def _come_by() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
