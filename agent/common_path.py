"""A path to a node's working directory that is the same on all hosts of its group.

`mpirun` has its daemons change to the absolute path that it was itself started in, but agents keep their state, and
with it working directories, where each host has room. So each makes a symbolic link of one name to its own node's.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.model import Desired, Group
    from agent.users import Account

# The one directory that every host has under the same name, and where users can't touch each other's files.
DIRECTORY = "/tmp"  # noqa: S108 - made without following anything, see `make`


def path_of(desired: Desired, group: Group, directory: str = DIRECTORY) -> str:
    """Where the link of this node's group is, on each host; empty if another node of this machine takes it.

    The port keeps apart jobs of the same number in two clusters that have hosts on one machine.
    """
    own = next((member.address for member in group.members if member.rank == desired.rank), "")
    first = min((member.rank for member in group.members if member.address == own), default=desired.rank)
    name = f"rallypoint-{desired.job_id}.{group.generation}-{group.master_port}"
    return f"{directory}/{name}" if desired.rank == first else ""


def make(path: str, target: str, owner: Account | None = None) -> bool:
    """Have ``path`` lead to ``target``, for ``owner`` (none: whom this agent runs as).

    False if it can't be, or not for sure: whatever else has that name stays.
    """
    try:
        about = os.stat(os.path.dirname(path))
        if about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX:
            # Others could put something else in its place.
            return False
        os.symlink(target, path)
        if owner is not None and about.st_uid != os.geteuid():
            # Where all users write, kernels let only its owner follow a link that is not the directory's owner's.
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    except FileExistsError:
        return _leads_to(path, target) and os.lstat(path).st_uid in (os.geteuid(), owner.uid if owner else -1)
    except OSError:
        return False
    return True


def remove(path: str, target: str) -> None:
    """Remove the link if it is there and leads to ``target``. Raises ``OSError``."""
    if _leads_to(path, target):
        os.unlink(path)


def _leads_to(path: str, target: str) -> bool:
    try:
        return os.readlink(path) == target
    except OSError:
        return False
