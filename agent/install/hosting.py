"""What makes the machine a host: it joins, its agent starts, and the coordinator sees it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from agent.identity import Identity, IdentityDamaged, NotJoined, load_identity
from agent.install import accounts, supervision
from agent.install.errors import CannotInstall
from agent.install.plan import Plan
from agent.installation import Supervisor

_ONLINE_SECONDS = 45.0
_COMMAND_SECONDS = 120.0


def join(plan: Plan, token: str) -> Identity:
    """Join, as the user whom the agent will run as. Raises ``CannotInstall``."""
    installation = plan.installation
    state = ["--state-dir", str(installation.state_dir)]
    words = ["join", installation.coordinator, "--token-file", "-", *state, *plan.order.join.words]
    done = _agent(plan, words, token, **_as_user(installation.user))
    if done.returncode:
        raise CannotInstall(_last_words(done))
    print(done.stdout.partition(";")[0].strip(), flush=True)
    try:
        return load_identity(installation.state_dir)
    except (NotJoined, IdentityDamaged) as error:
        raise CannotInstall(str(error)) from None


def _as_user(name: str) -> dict[str, Any]:
    if not name:
        return {}
    return {"user": name, "group": name, "extra_groups": [], "env": {**os.environ, "HOME": accounts.HOME}, "cwd": "/"}


def start(plan: Plan, identity: Identity, *, changed: bool) -> None:
    """Have the agent run what is installed now, and wait until the coordinator sees it. Raises ``CannotInstall``."""
    installation = plan.installation
    failed = "" if installation.supervisor is Supervisor.BACKGROUND else supervision.enable(installation.supervisor)
    if installation.supervisor is Supervisor.SYSTEMD_USER and not failed:
        supervision.have_linger(installation.prefix)
    # `restart` is for one that runs, `start` leaves that alone.
    verbs = ("restart", "start") if changed and plan.before is not None else ("start",)
    for verb in verbs if not failed else ():
        done = _agent(plan, [verb, "--state-dir", str(installation.state_dir)])
        failed = _last_words(done) if done.returncode else ""
    if failed:
        who = f"host {identity.host_name} ({identity.host_id})"
        raise CannotInstall(f"installed, and joined as {who}, but the agent does not start: {failed}")
    _await_online(plan, identity)


def _agent(plan: Plan, words: Sequence[str], text: str = "", **how: Any) -> subprocess.CompletedProcess[str]:
    command = [str(plan.installation.agent), *words]
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False, **how
        )
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"'agent {words[0]}' does not end: run it by hand to see what it waits for") from None


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return (lines or [f"it ended with code {done.returncode}"])[-1].removeprefix("agent: ").removeprefix("Error: ")


def _await_online(plan: Plan, identity: Identity) -> None:
    deadline = time.monotonic() + _ONLINE_SECONDS
    who = f"host {identity.host_name} ({identity.host_id})"
    while (state := plan.coordinator.standing(identity.credentials_path)) != "online":
        if state is None:
            print(f"{who} has started: 'coordinator hosts' shows it (who was asked here stands by)")
            return
        if time.monotonic() > deadline:
            raise CannotInstall(
                f"installed, and joined as {who}, but the coordinator does not see it online"
                f"{f' ({state})' if state else ''}: 'agent status' and 'agent logs' say why; is the way to"
                f" {', '.join(identity.coordinators)} open?"
            )
        time.sleep(0.2)
    print(f"{who} is online: 'coordinator hosts' and the web page of {plan.installation.coordinator} show it")
