"""Giving files to the user who is to work with them, so that nobody can have other files given away with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.users import Account


def give(directory: str, owner: Account) -> None:
    """Give a directory, and all that is in it, to ``owner``, who can't get in before this is done.

    One that is theirs is left as it is: what they have linked into it since may be anybody's.

    Raises:
        OSError: something of it can't be given.
    """
    if os.stat(directory).st_uid == owner.uid:
        return
    for folder, _, names, descriptor in os.fwalk(directory, topdown=False):
        for name in names:
            os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)
        with os.scandir(descriptor) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
        for name in links:
            os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)
        if folder != directory:
            os.chown(descriptor, owner.uid, owner.gid)
    # Last: from here on they can get in.
    os.chown(directory, owner.uid, owner.gid)
