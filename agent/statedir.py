"""Whether a state directory is the agent's own: nobody else may have put, or put in place of, anything in it."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StateDirUnsafe(Exception):
    """The state directory can't be trusted: the message names what is wrong and what mends it."""


class StateDirUnusable(Exception):
    """The state directory can't be written: the message says why and what mends it."""


def make_state_dir(path: Path) -> None:
    """Create it for its owner only. One that is there is closed to all others, but for who may pass it, not list it:
    behind it live nodes that run as other users, and would lose their directories. Raises ``OSError``.
    """
    if os.geteuid() == 0:
        _make_parents(path.parent)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode != mode & _PASSABLE | 0o700:
        path.chmod(mode & _PASSABLE | 0o700)


def _make_parents(path: Path) -> None:
    """Those that are missing, to be passed by nodes' users whatever the mask of root's shell."""
    for each in reversed([each for each in (path, *path.parents) if not each.exists()]):
        each.mkdir(exist_ok=True)
        each.chmod(0o755)


def unusable(path: Path, error: OSError) -> StateDirUnusable | None:
    """What an error means that comes of a disk that is full, read-only or broken; None: it comes of something else."""
    if error.errno not in _DISK:
        return None
    what = error.filename if error.filename is not None else path
    return StateDirUnusable(f"{what} can't be written ({error.strerror}): free some space, or {_MEND}")


def check_state_dir(path: Path) -> None:
    """Look at the directory and at what is in it; one that is not there yet is fine. Raises StateDirUnsafe.

    One that others may only read is not refused: it is closed to them, and what is secret in it never was open.
    """
    try:
        about = path.stat()
        entries = list(os.scandir(path)) if stat.S_ISDIR(about.st_mode) else []
    except (FileNotFoundError, NotADirectoryError):
        # Whoever makes it says why it can't be made.
        return
    except OSError as error:
        raise StateDirUnsafe(f"state directory {path} can't be looked at ({error.strerror}): {_MEND}") from None
    if about.st_uid != os.geteuid():
        way_out = f"run this as that user, or 'chown -R {os.geteuid()} {path}' once you have looked at what is in it"
        raise StateDirUnsafe(f"state directory {path} belongs to another user ({_name(about.st_uid)}): {way_out}")
    if about.st_mode & 0o022:
        way_out = f"look at what is in it, then run 'chmod 700 {path}'"
        raise StateDirUnsafe(f"state directory {path} can be written by other users: {way_out}")
    for entry in entries:
        if entry.is_symlink():
            raise StateDirUnsafe(f"{entry.path} is a symbolic link, and nothing of ours is one: remove it")
        # Root's own commands leave a note in it now and then, for an agent of another user.
        if entry.stat(follow_symlinks=False).st_uid not in (about.st_uid, 0):
            raise StateDirUnsafe(f"{entry.path} belongs to another user: remove it, or 'chown' it")


_PASSABLE = 0o711
_MEND = "mend its permissions, or give another one with --state-dir"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


def check_token_owner(path: Path) -> None:
    """A token file is this user's, root's, or that of who called sudo: others could have it name their own cluster.

    Raises StateDirUnsafe, and OSError where it can't be looked at.
    """
    owner, caller = path.stat().st_uid, os.environ.get("SUDO_UID", "")
    if owner not in (os.geteuid(), 0) and not (os.geteuid() == 0 and caller == str(owner)):
        raise StateDirUnsafe(f"token file {path} belongs to another user ({_name(owner)}): use one of your own")
