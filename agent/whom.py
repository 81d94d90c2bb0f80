"""What `agent doctor` says of whom nodes run as, and of what is closed to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.devices import closed_devices
from agent.hardware.diagnosis import Finding
from agent.users import NOBODY, TASK_USER, UserUnusable, closed_to, users_of, way_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config import Settings
    from agent.users import Account, Users


def examine_users(settings: Settings, path: str) -> Iterator[Finding]:
    """Whom nodes run as by the settings, and whether they get to their directories, devices and the programs in
    ``path``."""
    try:
        users = users_of(settings.task_user, settings.allow_users)
    except UserUnusable as error:
        yield Finding("error", "users", str(error), "set task_user in agent.toml")
        return
    said, account = _said(users), users.others()
    if account is None:
        yield Finding("ok", "users", said)
        return
    places = (settings.state_dir, settings.work_dir or settings.state_dir)
    folder = closed_to(account, [_existing(place.parent) for place in places])
    if folder:
        yield Finding("error", "users", f"{said}, to whom {folder} is closed", way_in(folder))
    elif account.name == NOBODY and not settings.task_user:
        way_out = f"'useradd --system --no-create-home {TASK_USER}', then start the agent again"
        yield Finding("warn", "users", f"{said}, like other services perhaps, which nodes could signal then", way_out)
    else:
        yield Finding("ok", "users", said)
    yield from _closed(account, path)


def _closed(account: Account, path: str) -> Iterator[Finding]:
    programs, devices = _closed_programs(account, path), closed_devices(account)
    if programs:
        way_out = "install what nodes need where all users may run it, or name another task_user in agent.toml"
        yield Finding(
            "warn", "users", f"{account.name!r} can't run what is in {', '.join(programs)} (of PATH)", way_out
        )
    if devices:
        way_out = "let a group have them that is not root's (for NVIDIA's NVreg_DeviceFileGID), or all users"
        yield Finding("warn", "users", f"{account.name!r} can't open {', '.join(devices)}", way_out)


def _said(users: Users) -> str:
    if users.reason:
        return f"nodes run as {users.own.name!r}: {users.reason}"
    others = f", or as whom their job names of {', '.join(users.allowed)}" if users.allowed else ""
    return f"nodes run as {users.task.name!r}{others}"


def _existing(path: Path) -> Path:
    """The nearest directory above that is there: what is missing the agent makes."""
    return next(each for each in (path, *path.parents) if each.exists())


def _closed_programs(account: Account, path: str) -> list[str]:
    folders = dict.fromkeys(folder for folder in path.split(os.pathsep) if os.path.isabs(folder))
    return [
        folder for folder in folders if os.path.isdir(folder) and closed_to(account, [Path(os.path.realpath(folder))])
    ]
