"""What is put on the disk: the environment, the state directory, the command, the unit, the record of it all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from agent.install import accounts, supervision
from agent.install.environment import Source, build, is_whole
from agent.install.plan import Plan
from agent.install.undo import Undo
from agent.installation import Mode, Supervisor, current_version, save, switch


def put(plan: Plan, undo: Undo) -> None:
    """Put everything in its place and switch to it. Raises ``CannotInstall``, ``OSError``."""
    installation = plan.installation
    undo.directory(installation.versions)
    installation = replace(installation, python=_python(plan, undo))
    _environment(plan, undo, installation.python)
    _examine(plan)
    _state_dir(plan, undo)
    _command(plan, undo)
    if installation.supervisor is not Supervisor.BACKGROUND:
        undo.file(plan.places.unit_dir / supervision.UNIT, supervision.unit_for(installation).encode())
        undo.add(lambda: None if plan.before else supervision.disable(installation.supervisor))
    old = current_version(installation.prefix)
    switch(installation.prefix, plan.name)
    undo.add(lambda: switch(installation.prefix, old) if old else installation.current.unlink())
    text = installation.file.read_bytes() if installation.file.exists() else None
    created = undo.created if plan.before is None else plan.before.created.plus(undo.created)
    save(replace(installation, created=created))
    undo.add(lambda: installation.file.unlink() if text is None else installation.file.write_bytes(text))


def _python(plan: Plan, undo: Undo) -> str:
    """The interpreter to build from; one that uv fetched into the temporary folder comes to stay."""
    fetched = plan.order.folder / "python"
    if not Path(sys.executable).resolve().is_relative_to(fetched):
        return sys.executable
    kept = plan.installation.prefix / "python"
    if not kept.exists():
        undo.add(lambda: shutil.rmtree(kept))
        shutil.copytree(fetched, kept, symlinks=True)
    return str(kept / Path(sys.executable).relative_to(fetched))


def _environment(plan: Plan, undo: Undo, python: str) -> None:
    place = plan.environment
    if place.exists() and is_whole(place):
        print(f"Rallypoint {plan.name} is in {place}")
        return
    packages = plan.installation.packages
    print(f"installing Rallypoint {plan.name} into {place}, packages from the {packages.value} …")
    if place.exists():
        # Scripts in it name their own place: it is made anew where it was, and put back if that fails.
        aside = place.with_name(f".{place.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        undo.add(lambda: aside.rename(place))
    undo.add(lambda: shutil.rmtree(place))
    wheel, folder = plan.order.wheel, plan.order.folder
    build(place, Source(plan.coordinator, plan.manifest, wheel, python, packages, folder, plan.order.uv))


def _examine(plan: Plan) -> None:
    """`agent doctor`: what it finds is told, and is no reason not to install: the host will say the same of itself."""
    command = [str(plan.environment / "bin" / "agent"), "doctor", "--machine-only"]
    command += ["--state-dir", str(plan.installation.state_dir)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        print(f"  {line}")


def _state_dir(plan: Plan, undo: Undo) -> None:
    """The state directory, for nobody but the agent."""
    installation, owner = plan.installation, None
    if installation.mode is Mode.ROOT:
        user = accounts.have_user(undo)
        owner = (user.pw_uid, user.pw_gid) if installation.user else None
        if installation.state_dir == plan.places.state_dir:
            undo.directory(installation.state_dir.parent)
    undo.directory(installation.state_dir, 0o700, owner)


def _command(plan: Plan, undo: Undo) -> None:
    if plan.order.prefix is not None and plan.order.prefix != plan.places.prefix:
        return  # Beside another installation, perhaps; that one has the name.
    link = plan.places.bin_dir / "agent"
    if not undo.link(link, plan.installation.agent):
        print(f"{link} is somebody else's and stays: call {plan.installation.agent}")


def tidy(plan: Plan, old: str | None) -> None:
    """Keep the version in use and the one before; older ones go, and so does what was damaged."""
    for each in plan.installation.versions.iterdir():
        if each.name not in (plan.name, old):
            shutil.rmtree(each, ignore_errors=True)
