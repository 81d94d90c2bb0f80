"""What `agent doctor` says of whom nodes run as, and of what is closed to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.hardware.diagnosis import Finding
from agent.users import UserUnusable, closed_to, users_of, way_in

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.users import Account, Users


def examine_users(settings: Settings, path: str) -> Finding:
    """Whom nodes run as by the settings, and whether they get to their directories and to the programs in ``path``."""
    try:
        users = users_of(settings.task_user, settings.allow_users)
    except UserUnusable as error:
        return Finding("error", "users", str(error), "mend it in agent.toml")
    said, account = _said(users), users.others()
    if account is None:
        return Finding("ok", "users", said)
    folder = closed_to(
        account, map(_existing, (settings.state_dir.parent, (settings.work_dir or settings.state_dir).parent))
    )
    if folder:
        return Finding("error", "users", f"{said}, to whom {folder} is closed", way_in(folder))
    closed = _closed_programs(account, path)
    if closed:
        way_out = "install what nodes need where all users may run it, or name another task_user in agent.toml"
        return Finding("warn", "users", f"{said}, who can't run what is in {', '.join(closed)} (of this PATH)", way_out)
    return Finding("ok", "users", said)


def _said(users: Users) -> str:
    if users.reason:
        return f"nodes run as {users.own.name!r}, whom the agent runs as, and as nobody else: {users.reason}"
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
