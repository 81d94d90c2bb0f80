"""What is to keep the agent running: systemd where it runs here, else our own supervisor."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path

from agent import lingering
from agent.installation import Created, Installation, Mode, Supervisor, load, save

UNIT = "rallypoint-agent.service"
# As it is delivered; where it is installed it has the name of root's.
USER_UNIT = "rallypoint-agent-user.service"


def choose(mode: Mode) -> Supervisor:
    """Who can keep an agent running on this machine."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return Supervisor.BACKGROUND
    if mode is Mode.ROOT:
        return Supervisor.SYSTEMD
    asked = subprocess.run(["systemctl", "--user", "show-environment"], capture_output=True, check=False)
    return Supervisor.BACKGROUND if asked.returncode else Supervisor.SYSTEMD_USER


def unit_text(mode: Mode = Mode.ROOT) -> str:
    """The unit as it is delivered: root's, or an ordinary user's, who may ask systemd for less."""
    name = UNIT if mode is Mode.ROOT else USER_UNIT
    return resources.files("agent.install").joinpath(name).read_text(encoding="utf-8")


def agents_user() -> str:
    """Whom the unit has the agent run as; empty: root."""
    match = re.search(r"^User=(\S+)$", unit_text(), re.MULTILINE)
    return match[1] if match and match[1] != "root" else ""


def unit_for(installation: Installation) -> str:
    """The unit for this installation: its places in it."""
    run = f"{_word(installation.agent, '$')} run --state-dir {_word(installation.state_dir, '$$')}"
    text = re.sub(r"^ExecStart=\S+ run .*$", lambda _: f"ExecStart={run}", unit_text(installation.mode), flags=re.M)
    if str(installation.state_dir) != "/var/lib/rallypoint/agent":
        text = re.sub(r"^(StateDirectory|StateDirectoryMode)=.*\n", "", text, flags=re.MULTILINE)
    return text


def _word(path: Path, dollar: str) -> str:
    """A path as one word of systemd's, which expands variables in arguments, but not in the program's own name."""
    text = str(path)
    if re.fullmatch(r"[\w./+:@=-]+", text):
        return text
    for letter, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", dollar)):
        text = text.replace(letter, written)
    return f'"{text}"'


def enable(supervisor: Supervisor) -> str:
    """Have systemd know the unit and start it with the machine; why not, else empty."""
    own = ["--user"] if supervisor is Supervisor.SYSTEMD_USER else []
    for words in (["daemon-reload"], ["enable", UNIT]):
        done = subprocess.run(["systemctl", *own, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"systemctl {' '.join([*own, *words])}: {' '.join(done.stderr.split())}"
    return ""


def have_linger(prefix: Path) -> None:
    """Without it a user's services end when they log out. It may need rights that they have not. Raises ``OSError``."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    if lingering.lingers(user):
        return
    before = load(prefix)
    # First: what was begun by a run that was killed has to be ended, too.
    save(replace(before, created=before.created.plus(Created(lingers=(user,)))))
    if not lingering.begin(user):
        save(before)


def disable(supervisor: Supervisor) -> None:
    """The reverse of ``enable``, for an installation that failed; the unit's file may be gone."""
    own = ["--user"] if supervisor is Supervisor.SYSTEMD_USER else []
    subprocess.run(["systemctl", *own, "disable", "--now", UNIT], capture_output=True, check=False)
