"""A scope of systemd's: control groups of our own where nobody has given us any that hand down what holds tasks.

In version 2 a group hands controllers down only if no process is in it, and who starts an agent by hand, or as a unit
of systemd's before 254, starts it right in such a group. So the spawner asks systemd for a group that is left to it.
It outlives the agent and its unit, as tasks do.
"""

import os
import sys
import time

from agent.spawner.group import wrote
from agent.spawner.hierarchies import LIMITS, PREFIX, SUBGROUP, home_of_ours, usable

# What tells a spawner that it was started in one.
IN_SCOPE = "--in-scope"
_RUNNING = "/run/systemd/system"
_UNIFIED = "/sys/fs/cgroup/cgroup.controllers"
_LINGER = "/var/lib/systemd/linger"
_SECONDS = 5.0


def enter(arguments: list[str]) -> str:
    """Begin anew in a scope, with ``arguments``, if limits are to be had by that: then this does not return.

    Why there is none to be had; empty: none is needed, or we are in ours.
    """
    if IN_SCOPE in arguments:
        return _settle()
    if not os.path.isdir(_RUNNING) or not os.path.exists(_UNIFIED) or not _lacks():
        return ""
    reason = _hindrance()
    if not reason:
        name = f"--unit={PREFIX}nodes-{os.getpid()}-{time.time_ns():x}"
        words = [*_command(), name, "--", sys.executable, "-m", "agent.spawner", *arguments, IN_SCOPE]
        os.execvpe(words[0], words, _environment())  # noqa: S606 -- no shell is wanted
    return f"no scope of systemd's: {reason}"


def _lacks() -> bool:
    """Whether there is a limit that the groups we may make would not hold."""
    found, _ = usable(f"probe-{os.getpid()}")
    for hierarchy in found:
        os.rmdir(hierarchy.base)
    return not set(LIMITS) <= {name for hierarchy in found for name in hierarchy.controllers}


def _command() -> list[str]:
    own = ["--user"] if os.geteuid() else []
    # How much all tasks may start is for their own limits to say. When the machine goes down the spawner goes last.
    asked = [f"--property={each}" for each in ("Delegate=yes", "TasksMax=infinity", "TimeoutStopSec=30")]
    return ["systemd-run", *own, "--scope", "--quiet", "--collect", "--description=Nodes of a Rallypoint agent", *asked]


def _environment() -> dict[str, str]:
    place = f"/run/user/{os.geteuid()}"
    return {**({"XDG_RUNTIME_DIR": place} if os.path.isdir(place) else {}), **os.environ}


def _hindrance() -> str:
    """Why systemd gives none; empty: it has just given one."""
    import subprocess

    if os.geteuid() and not _stays():
        return "it would end when the user logs out ('loginctl enable-linger' lets it stay)"
    try:
        done = subprocess.run(
            [*_command(), "--", "true"],
            env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemd-run: {getattr(error, 'strerror', None) or 'it does not end'}"
    return " ".join(done.stderr.split()) if done.returncode else ""


def _stays() -> bool:
    """Whether this user's systemd outlives their logins, or we are below it anyhow."""
    import pwd

    if f"/user@{os.geteuid()}.service/" in home_of_ours():
        return True
    try:
        return os.path.exists(os.path.join(_LINGER, pwd.getpwuid(os.geteuid()).pw_name))
    except KeyError:
        return False


def _settle() -> str:
    """Make room for tasks' groups beside us: we are alone in the scope."""
    place = f"{home_of_ours()}/{SUBGROUP}"
    try:
        os.mkdir(place)
    except OSError as error:
        return f"{place}: {error.strerror}"
    return "" if wrote(f"{place}/cgroup.procs", "0") else f"{place} can't be entered"
