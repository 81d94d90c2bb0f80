"""The system user that nodes run as; the agent is root's."""

from __future__ import annotations

import pwd
import shutil
import subprocess

from agent.install.errors import CannotInstall
from agent.install.undo import Undo
from agent.installation import Created

NAME = "rallypoint-task"
HOME = "/var/lib/rallypoint"
_NOBODY = "/usr/sbin/nologin"


def have_user(undo: Undo) -> pwd.struct_passwd:
    """The system user, made if there is none; nobody can log in as it. Raises ``CannotInstall``."""
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    if shutil.which("useradd"):
        make = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", HOME, "--shell", _NOBODY, NAME]
        remove = ["userdel", NAME]
    elif shutil.which("adduser"):  # busybox
        make = ["adduser", "-S", "-D", "-H", "-h", HOME, "-s", "/sbin/nologin", NAME]
        remove = ["deluser", NAME]
    else:
        raise CannotInstall(
            f"there is neither useradd nor adduser here to make the system user {NAME!r}: make it first"
        )
    done = subprocess.run(make, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise CannotInstall(
            f"the system user {NAME!r} can't be made ({said}): make it first, as {' '.join(make)!r} would"
        )
    undo.add(lambda: subprocess.run(remove, capture_output=True, check=False))
    undo.made(Created(users=(NAME,)))
    return pwd.getpwnam(NAME)
